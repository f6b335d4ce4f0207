"""Reads and validates a manifest from any source."""

from __future__ import annotations

import json
from typing import NoReturn

from pydantic import ValidationError

from model_zoo.manifest import Manifest

MAX_MANIFEST_BYTES = 512_000
MAX_FAULTS = 5
MAX_WORDS = 200


class ManifestError(ValueError):
    """A text is not a valid manifest; the message says what is wrong."""


def parse_manifest(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: if the text is too long, is not strict JSON (NaN, infinity and repeated keys are not), or breaks
            the schema.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_MANIFEST_BYTES:
        raise ManifestError(f"the manifest has {size:,} bytes, expected at most {MAX_MANIFEST_BYTES:,}")
    _check_strict_json(text)
    try:
        manifest = Manifest.model_validate_json(text, strict=True)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc']))[:MAX_WORDS] or 'manifest'}: {e['msg'][:MAX_WORDS]}"
            for e in error.errors(include_url=False, include_input=False)[:MAX_FAULTS]
        )
        raise ManifestError(f"the manifest has {error.error_count()} faults: {faults}") from error
    return manifest


def _check_strict_json(text: str) -> None:
    try:
        json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except ManifestError:
        raise
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest is not JSON: {str(error)[:MAX_WORDS]}") from error


def _refuse_constant(constant: str) -> NoReturn:
    raise ManifestError(f"the manifest holds {constant}, which is not JSON: expected finite numbers")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ManifestError(f"the manifest holds the key {repeated[:MAX_WORDS]!r} twice in an object")
    return entries
