"""Is the patch fit to be assessed, and if not, why not?"""

from __future__ import annotations

from model_zoo.manifest import QualityReference
from model_zoo.quality import Quality


def shortcomings(quality: Quality, reference: QualityReference) -> list[str]:
    """Why a patch cannot be assessed, in plain words; empty when it can."""
    found = []
    if quality.tissue_fraction < reference.min_tissue_fraction:
        found.append(
            f"tissue covers {quality.tissue_fraction:.2f} of the disc, less than {reference.min_tissue_fraction:g}"
        )
    if quality.sharpness < reference.min_sharpness:
        found.append(f"sharpness {quality.sharpness:.3g} is below {reference.min_sharpness:g}")
    if quality.stain_distance is None:
        found.append("there is no tissue whose stain could be measured")
    elif quality.stain_distance > reference.max_stain_distance:
        found.append(f"stain distance {quality.stain_distance:.3g} exceeds {reference.max_stain_distance:g}")
    return found
