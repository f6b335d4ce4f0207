"""Encodes a patch as JPEG and decodes it."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from model_zoo.turns import Patch
from training.study.twins import decode


def encode_again(image: Patch, quality: int) -> Patch:
    """Encode and decode one image, uint8 [H, W, 3], with Pillow at 4:2:0."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return decode(buffer.getvalue())
