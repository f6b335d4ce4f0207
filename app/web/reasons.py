"""Why an answer is left to a person, in plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.web.strings import t

_NUMBER = r"(\d[\d.e+-]*)"
_SAID = (
    (rf"probability in the review band {_NUMBER} to {_NUMBER}", "reason.band"),
    (rf"turning the patch moves the probability by {_NUMBER} from the mean, more than {_NUMBER}", "reason.turning"),
    (rf"tissue covers {_NUMBER} of the disc, less than {_NUMBER}", "reason.tissue"),
    (rf"sharpness {_NUMBER} is below {_NUMBER}", "reason.sharpness"),
    (rf"stain distance {_NUMBER} exceeds {_NUMBER}", "reason.stain"),
    ("there is no tissue whose stain could be measured()()", "reason.nothing"),
)


def in_plain_words(reasons: Sequence[str]) -> list[str]:
    """The reasons of an answer as sentences; one that is not known here stays as it was recorded."""
    return [_plain(reason) for reason in reasons]


def _plain(reason: str) -> str:
    for pattern, name in _SAID:
        if match := re.fullmatch(pattern, reason):
            found, bound = (f"{float(value):.3g}" if value else "" for value in match.groups())
            return t(name, found=found, bound=bound)
    return reason
