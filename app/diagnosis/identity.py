"""Ids of answers, which hold the moment of the answer by the computer's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

TOLERANCE_S = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(clock: Callable[[], float] = time.time, make: Callable[[], UUID] = uuid7) -> tuple[UUID, datetime]:
    """A UUID version 7 and its time, in milliseconds.

    Ids grow, also within a millisecond. After the clock was set back they would go on from where it had been, so that
    answers were of the future: from one second on they follow the clock in place of the last id.

    Args:
        clock: seconds since the epoch.
        make: gives ids that grow.
    """
    now, answer_id = clock(), make()
    if abs(_milliseconds(answer_id) / 1000 - now) > TOLERANCE_S:
        answer_id = uuid7(nanoseconds=int(now * 1e9))
    return answer_id, _EPOCH + timedelta(milliseconds=_milliseconds(answer_id))


def _milliseconds(answer_id: UUID) -> int:
    return answer_id.int >> 80
