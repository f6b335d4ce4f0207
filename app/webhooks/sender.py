"""Sends events in the background, in their order, with bounded repeats; no request waits for it."""

from __future__ import annotations

import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator

from anyio import CapacityLimiter, sleep, to_thread
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.problems import RecordsUnavailable
from app.records.webhook_events import WebhookEvent, WebhookEvents
from app.webhooks.delivery import DeliveryError, deliver, signature
from app.webhooks.target import Target

POLL_S = 2.0
MAX_BYTES = 4000
MAX_EVENTS = 12
# Seconds before each try; after the last one, the events are dropped.
WAITS_S = (0.0, 1.0, 5.0, 30.0, 120.0, 600.0)
HELD_S = 30.0

log = logging.getLogger("rosette.webhooks")


class Webhooks(Collector):
    """Sends events to the target, until cancelled. All methods belong to the event loop, but for :meth:`collect`.

    Args:
        to: where, and the key that signs; None if nothing is sent.
        events: what happened.
        settled: whether all answers of this server are in the database.
        waits_s: seconds before each try.

    Attributes:
        sent, failed, dropped: events sent, tries that failed, events that were given up.
        trouble: why the last try failed; empty if it did not.
    """

    def __init__(
        self,
        to: tuple[Target, bytes] | None,
        events: WebhookEvents,
        settled: Callable[[], bool],
        waits_s: tuple[float, ...] = WAITS_S,
    ) -> None:
        self.sent = self.failed = self.dropped = 0
        self.trouble = ""
        self._to = to
        self._events = events
        self._settled = settled
        self._waits_s = waits_s
        self._tls = ssl.create_default_context() if to is not None and to[0].secure else None
        self._thread = CapacityLimiter(1)

    @property
    def host(self) -> str:
        """Where events go; empty if nowhere. The path may hold a secret."""
        return self._to[0].authority if self._to else ""

    async def run(self) -> None:
        """Send what happens, until cancelled."""
        if self._to is None:
            return
        while True:
            more = False
            try:
                more = await self._round(*self._to)
            except RecordsUnavailable as problem:
                log.warning("webhooks wait: %s", problem.detail)
            except Exception:
                log.exception("webhooks cannot be sent")
            if not more:
                await sleep(POLL_S)

    async def _round(self, target: Target, key: bytes) -> bool:
        """Send one body; False if there is nothing to send now."""
        if not self._settled():
            return False
        if not await self._next() or not await self._hold(HELD_S):
            return False
        if not (found := await self._next()):  # another server has sent them meanwhile
            return False
        body, events = packed(found)
        for wait_s, following_s in zip(self._waits_s, (*self._waits_s[1:], 0.0), strict=True):
            await sleep(wait_s)
            if not await self._hold(HELD_S + following_s):
                return False
            if await self._try(target, key, body):
                self.sent += len(events)
                break
        else:
            self.dropped += len(events)
            log.error("%s events are dropped after %s tries: %s", len(events), len(self._waits_s), self.trouble)
        await to_thread.run_sync(self._events.move, events, limiter=self._thread)
        return True

    async def _next(self) -> list[WebhookEvent]:
        return await to_thread.run_sync(self._events.next, MAX_EVENTS, limiter=self._thread)

    async def _hold(self, seconds: float) -> bool:
        return await to_thread.run_sync(self._events.hold, seconds, limiter=self._thread)

    async def _try(self, target: Target, key: bytes, body: bytes) -> bool:
        try:
            await deliver(target, self._tls, body, signature(key, int(time.time()), body))
        except DeliveryError as error:
            self.failed += 1
            self.trouble = str(error)
            log.warning("a webhook failed: %s", error)
            return False
        self.trouble = ""
        return True

    def collect(self) -> Iterator[Metric]:
        events = CounterMetricFamily("rosette_webhook_events", "Events that were sent or dropped.", labels=["result"])
        events.add_metric(["sent"], self.sent)
        events.add_metric(["dropped"], self.dropped)
        yield events
        yield CounterMetricFamily("rosette_webhook_failures", "Tries to send events that failed.", self.failed)


def packed(events: list[WebhookEvent]) -> tuple[bytes, list[WebhookEvent]]:
    """As many of the events as fit into a body, at least one."""
    for number in range(len(events), 0, -1):
        body = json.dumps({"events": [event.body for event in events[:number]]}, separators=(",", ":")).encode()
        if len(body) <= MAX_BYTES:
            return body, events[:number]
    raise ValueError(f"an event has more than {MAX_BYTES} bytes")
