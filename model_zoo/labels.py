"""Labels by number or name: 0 or normal, 1 or tumour."""

from __future__ import annotations

NEGATIVE = {
    "0", "false", "no", "negative", "normal", "benign", "healthy",
    "no_metastasis", "no_tumor", "no_tumour", "non_tumor", "non_tumour", "no_cancer",
}  # fmt: skip
POSITIVE = {
    "1", "true", "yes", "positive", "tumor", "tumour", "malignant", "metastasis", "metastatic", "cancer",
}  # fmt: skip
READ = "read are 0 (no tumour) and 1 (tumour), true and false, or class names such as normal and tumor"


def class_of(name: str) -> int | None:
    """The label of a class name, or None if unknown.

    Example:
        >>> class_of("No Metastasis"), class_of("tumor"), class_of("stroma")
        (0, 1, None)
    """
    folded = name.strip().casefold().replace("-", "_").replace(" ", "_")
    return 0 if folded in NEGATIVE else 1 if folded in POSITIVE else None
