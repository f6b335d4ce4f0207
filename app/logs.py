"""The log on stderr: one event per line, as text or JSON; callers cannot forge lines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from app import request_id

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

FIELDS = "fields"

_OURS = ("rosette", "uvicorn")
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


class _Formatter(logging.Formatter):
    def event(self, record: logging.LogRecord) -> dict[str, Any]:
        """The members of an event, without the stack trace."""
        fields: dict[str, Any] = getattr(record, FIELDS, {})
        return {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().rstrip(),
            "request_id": request_id.current.get(),
        } | fields

    def trace(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class JsonFormatter(_Formatter):
    """One JSON object per line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        event = self.event(record)
        if trace := self.trace(record):
            event["exception"] = trace
        return json.dumps(event, default=str)


class TextFormatter(_Formatter):
    """Text for people: only the first line of an event is not indented, and control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        event = self.event(record)
        time, level, logger, message, request = list(event.values())[:5]
        line = f"{time} {level.upper()} {logger}: {message}".translate(_ESCAPES)
        if request is not None:
            line += f" [{request}]"
        trace = [f"  {each.translate(_ESCAPES)}" for each in self.trace(record).splitlines()]
        return "\n".join([line, *trace])


class _Handler(logging.StreamHandler[Any]):
    """A class that a second call of :func:`configure` recognizes."""


def configure(shown_as: Format, level: Level) -> None:
    """Send all logs of this process to stderr: Rosette's and uvicorn's from ``level``, others from warnings on."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    handler = _Handler()
    handler.setFormatter(JsonFormatter() if shown_as == "json" else TextFormatter())
    root.addHandler(handler)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
