"""Copy the screenshots of tests/web/test_screens.py to docs/images, with a reduced palette.

pytest tests/web/test_screens.py -k readme
python scripts/readme_images.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("diagnose", "cases")
COLOURS = 256

if __name__ == "__main__":
    target = ROOT / "docs" / "images"
    target.mkdir(exist_ok=True)
    for name in NAMES:
        with Image.open(ROOT / "build" / "screenshots" / f"readme-{name}.png") as picture:
            picture.convert("RGB").quantize(COLOURS).save(target / f"{name}.png", optimize=True)
