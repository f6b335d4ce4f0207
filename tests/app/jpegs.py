"""Makes tests/app/data/jpeg: small synthetic JPEG patches of each plain kind, and SHA-256s of their pixels.

python -m tests.app.jpegs
"""

from __future__ import annotations

import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import encoded

FOLDER = Path(__file__).parent / "data" / "jpeg"
HASHES = FOLDER / "sha256.json"
KINDS: dict[str, dict[str, Any]] = {
    "420": {"quality": 75},
    "422": {"quality": 85, "subsampling": 1},
    "444": {"quality": 95, "subsampling": 0},
    "rgb": {"quality": 80, "subsampling": 0, "keep_rgb": True},
    "coarse": {"quality": 5},
    "progressive": {"quality": 75, "progressive": True},
    "progressive-444": {"quality": 90, "subsampling": 0, "progressive": True},
    "restart": {"quality": 75, "restart_marker_blocks": 5},
    "restart-422": {"quality": 85, "subsampling": 1, "restart_marker_rows": 1},
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    hashes = {}
    for number, (name, options) in enumerate(KINDS.items()):
        data = encoded(synthetic_patch("tumour", number), "JPEG", **options)
        (FOLDER / f"{name}.jpg").write_bytes(data)
        with Image.open(BytesIO(data)) as image:
            hashes[name] = sha256(image.tobytes()).hexdigest()
    HASHES.write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
