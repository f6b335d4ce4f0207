"""A test event, sent at once: does the receiver take webhooks?"""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from anyio import to_thread
from uuid_utils.compat import uuid7

from app.problems import NoWebhook, TooSoon
from app.records.audit import Actor, AuditTrail, Event
from app.webhooks.delivery import DeliveryError, deliver, signature
from app.webhooks.target import Target

NOT_SET = (
    "No webhook is set. Set ROSETTE_WEBHOOK_URL to the receiver's address and ROSETTE_WEBHOOK_KEY_FILE to a file with "
    "a key, and start the server again."
)
PAUSE_S = 10.0


@dataclass(frozen=True)
class CheckResult:
    """What became of a test event.

    Attributes:
        host: where it went; the address may hold a secret and is not told.
        reason: why it was not delivered; empty if it was.
    """

    host: str
    reason: str

    @property
    def delivered(self) -> bool:
        return not self.reason


class WebhookCheck:
    """Sends test events, each in the audit trail, and at most one in ten seconds.

    All methods belong to the event loop.

    Args:
        to: where, and the key that signs; None if nothing is sent.
    """

    def __init__(self, to: tuple[Target, bytes] | None, audit: AuditTrail) -> None:
        self._to = to
        self._audit = audit
        self._free_at = 0.0

    async def run(self, actor: Actor) -> CheckResult:
        """Send a test event once.

        Raises:
            NoWebhook: if no address is set.
            TooSoon: if one was sent in the last ten seconds.
            RecordsUnavailable: if the audit trail cannot be written; the event may have been delivered.
        """
        if self._to is None:
            raise NoWebhook(NOT_SET)
        now = time.monotonic()
        if now < self._free_at:
            wait_s = self._free_at - now
            raise TooSoon(
                f"A test event was sent less than {PAUSE_S:g} s ago: wait {ceil(wait_s)} s, and try again.", wait_s
            )
        self._free_at = now + PAUSE_S
        target, key = self._to
        result = CheckResult(target.authority, await _sent(target, key))
        after = {"delivered": result.delivered} | ({"reason": result.reason} if result.reason else {})
        await to_thread.run_sync(self._audit.record, actor, Event("webhook.test", target.authority, after=after))
        return result


async def _sent(target: Target, key: bytes) -> str:
    """Why the event was not delivered; empty if it was."""
    event = {"id": str(uuid7()), "type": "test", "at": datetime.now(UTC).isoformat()}
    body = json.dumps({"events": [event]}, separators=(",", ":")).encode()
    try:
        tls = ssl.create_default_context() if target.secure else None
        await deliver(target, tls, body, signature(key, int(time.time()), body))
    except DeliveryError as error:
        return str(error)
    return ""
