"""Why an answer is left to a person or refused: codes for programs, and the one place where their texts are made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

Code = Literal["review_band", "turning", "tissue", "no_tissue", "sharpness", "stain", "scope", "other"]
Limit = float | tuple[float, float] | None

# The decision that a code leads to, where it is always the same one.
DECISION_OF: dict[str, str] = {
    "review_band": "review",
    "turning": "review",
    "tissue": "not_assessable",
    "no_tissue": "not_assessable",
    "sharpness": "not_assessable",
    "stain": "not_assessable",
}

_TEXTS: dict[Code, str] = {
    "review_band": "The probability {value} lies in the review band from {limit}, where the model errs too often to "
    "decide alone.",
    "turning": "Turning the patch moves the probability by up to {value} from its mean, {excess} more than the {limit} "
    "that counts as consistent.",
    "tissue": "Tissue covers a share of {value} of the disc; at least {limit} is needed.",
    "no_tissue": "There is no tissue whose stain could be measured.",
    "sharpness": "The patch is out of focus: its sharpness is {value}, and at least {limit} is needed.",
    "stain": "The stain differs from the training patches': its distance is {value}, and at most {limit} is accepted.",
    "scope": "The patch differs from what the model was trained on: its distance is {value}, and at most {limit} is "
    "accepted.",
}


_EXAMPLE: JsonDict = {
    "code": "review_band",
    "value": 0.4043501049645132,
    "limit": [0.226124, 0.616791],
    "text": "The probability 0.404 lies in the review band from 0.226 to 0.617, where the model errs too often to "
    "decide alone.",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a decision is ``review`` or ``not_assessable``."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False, json_schema_extra={"examples": [_EXAMPLE]})

    code: Annotated[
        Code,
        Field(
            description="`review_band`: the probability is in the review band. `turning`: turns of the patch disagree "
            "beyond the limit. `tissue`: too little tissue. `no_tissue`: none whose stain could be measured. "
            "`sharpness`: out of focus. `stain`: another stain than the training patches'. `scope`: outside what the "
            "model was trained on. `other`: only its text is known."
        ),
    ]
    value: Annotated[float | None, Field(description="What was found; null where there is no figure.")]
    limit: Annotated[
        Limit,
        Field(description="The bound that it does not meet; for `review_band` both ends of the band; null as `value`."),
    ]
    text: Annotated[str, Field(description="The same for people, in English. Programs use the code.")]


def reason(code: Code, value: float | None = None, limit: Limit = None) -> Reason:
    """A reason with its text.

    Args:
        code: any but ``"other"``.
        value: what was found.
        limit: the bound that it does not meet, or both ends of the review band.
    """
    if isinstance(limit, tuple) or limit is None or value is None:
        found, excess = _figure(value), ""
        bound = " to ".join(map(_figure, limit)) if isinstance(limit, tuple) else _figure(limit)
    else:
        found, bound = outward(value, limit)
        excess = f"{abs(Decimal(found) - Decimal(bound)).normalize():f}"  # of the stated figures, so that they add up
    text = _TEXTS[code].format(value=found, limit=bound, excess=excess)
    return Reason(code=code, value=value, limit=limit, text=text)


def outward(value: float, limit: float) -> tuple[str, str]:
    """Both with three digits, each rounded away from the other: a value beyond its limit never reads like the limit."""
    return _rounded(value, value >= limit), _rounded(limit, limit > value)


def _rounded(value: float, up: bool) -> str:
    exact = Decimal(repr(value))
    if not exact:
        return "0"
    step = Decimal(1).scaleb(exact.adjusted() - 2)
    rounded = float(exact.quantize(step, ROUND_CEILING if up else ROUND_FLOOR))
    return f"{rounded:.0f}" if abs(rounded) >= 1000 else f"{rounded:.3g}"


def codes(reasons: Iterable[Reason]) -> str:
    """The codes as a row of the log keeps them: each once, with a space between them."""
    return " ".join(dict.fromkeys(each.code for each in reasons))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
