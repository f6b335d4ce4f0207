"""Patches per second of `POST /v2/models/{name}/infer` with a binary tensor, and of `POST /predict/batch`, in turns.

    python benchmarks/tensors.py http://127.0.0.1:8000 ~/.local/share/rosette/admin.key

Both send the same 64 patches, as RGB bytes and as PNG files, over one kept connection, with `rotations=none`. The
median ratio of pairs of requests is printed with the range of its inner half; the logits must be equal to the bit.
"""

from __future__ import annotations

import argparse
import json
from io import BytesIO
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import httpx
import numpy as np
from PIL import Image

from model_zoo.synthetic import synthetic_patch

BATCH, WARM = 64, 3
LENGTH = "Inference-Header-Content-Length"


def png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("keyfile", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    arguments = parser.parse_args()
    key = arguments.keyfile.read_text(encoding="ascii").strip()
    pixels = np.stack([synthetic_patch(("tumour", "normal")[seed % 2], seed) for seed in range(BATCH)])
    tensor = {"name": "patches", "datatype": "UINT8", "shape": list(pixels.shape)}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    asked = {"inputs": [tensor], "parameters": {"rotations": "none", "binary_data_output": True}}
    head = json.dumps(asked).encode()
    with httpx.Client(base_url=arguments.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        name = client.get("/readyz").json()["model"]
        form = client.build_request("POST", "/predict/batch", files=[("file", png(patch)) for patch in pixels])
        form_body, form_type = form.read(), form.headers["content-type"]

        def files() -> bytes:
            headers = {"Content-Type": form_type}
            answer = client.post("/predict/batch?rotations=none", content=form_body, headers=headers)
            results = answer.raise_for_status().json()["results"]
            return np.array([result["logits"] for result in results], np.float32).tobytes()

        def binary() -> bytes:
            headers = {LENGTH: str(len(head))}
            answer = client.post(f"/v2/models/{name}/infer", content=head + pixels.tobytes(), headers=headers)
            begin = int(answer.raise_for_status().headers[LENGTH])
            return answer.content[begin : begin + BATCH * 8]

        seconds: dict[str, list[float]] = {"binary": [], "files": []}
        for pair in range(-WARM, arguments.pairs):
            found = {}
            for kind, call in (("binary", binary), ("files", files))[:: -1 if pair % 2 else 1]:
                start = perf_counter()
                found[kind] = call()
                if pair >= 0:
                    seconds[kind].append(perf_counter() - start)
            assert found["binary"] == found["files"], "the logits differ"
    low, middle, high = quantiles([of / by for of, by in zip(seconds["files"], seconds["binary"], strict=True)])
    for kind, taken in seconds.items():
        print(f"{kind:6}  {BATCH * len(taken) / sum(taken):7.0f} patches/s")
    print(f"binary / files  {middle:.2f} ({low:.2f} to {high:.2f}), {arguments.pairs} pairs of {BATCH}; logits equal")
