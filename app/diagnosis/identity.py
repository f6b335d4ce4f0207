"""Ids of answers, which hold the moment of the answer by the computer's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from uuid_utils import UUID, uuid7

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
    if abs(answer_id.timestamp / 1000 - now) > TOLERANCE_S:
        answer_id = uuid7(nanoseconds=int(now * 1e9))
    return answer_id, _EPOCH + timedelta(milliseconds=answer_id.timestamp)
