"""Is the patch fit to be assessed, and if not, why not?"""

from __future__ import annotations

from app.diagnosis.reasons import Reason, reason
from model_zoo.manifest import QualityReference
from model_zoo.quality import Quality


def shortcomings(quality: Quality, reference: QualityReference) -> list[Reason]:
    """Why a patch cannot be assessed; empty when it can."""
    found = []
    if quality.tissue_fraction < reference.min_tissue_fraction:
        found.append(reason("tissue", quality.tissue_fraction, reference.min_tissue_fraction))
    if quality.sharpness < reference.min_sharpness:
        found.append(reason("sharpness", quality.sharpness, reference.min_sharpness))
    if quality.stain_distance is None:
        found.append(reason("no_tissue"))
    elif quality.stain_distance > reference.max_stain_distance:
        found.append(reason("stain", quality.stain_distance, reference.max_stain_distance))
    return found
