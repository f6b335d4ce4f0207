"""What a user of MLServer's client runs: ``mlserver infer`` on a file of requests, and a request made by its codecs.

Importing ``mlserver`` itself would import its server, which wants an older FastAPI; its client needs none of that.
The arguments: host and port, a key, a model's name, and a folder with ``in.jsonl`` and ``patches.npy``.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np

host, key, model, folder = sys.argv[1:]


def part(name: str) -> Any:
    return importlib.import_module(f"mlserver.{name}")


found = importlib.util.find_spec("mlserver")
assert found is not None
sys.modules["mlserver"] = package = ModuleType("mlserver")
package.__path__ = list(found.submodule_search_locations or ())


def infer(binary: bool) -> list[dict[str, Any]]:
    """The lines that ``mlserver infer`` writes, in the order of the requests."""
    out = Path(folder, "out.jsonl")
    asyncio.run(
        part("batch_processing").process_batch(
            model_name=model,
            url=host,
            workers=1,
            retries=1,
            batch_size=2,
            input_data_path=str(Path(folder, "in.jsonl")),
            output_data_path=str(out),
            binary_data=binary,
            transport="rest",
            request_headers=[f"Authorization: Bearer {key}"],
            timeout=60,
            batch_interval=0,
            batch_jitter=0,
            use_ssl=False,
            insecure=False,
            verbose=False,
            extra_verbose=False,
        )
    )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    return sorted(lines, key=lambda line: int(line["parameters"]["batch_index"]))


def by_codecs() -> dict[str, Any]:
    """A server's answers to a request that ``NumpyRequestCodec`` wrote, as the response's type and codecs read them."""
    types, codecs = part("types"), part("codecs")
    request = codecs.NumpyRequestCodec.encode_request(np.load(Path(folder, "patches.npy")))
    request.inputs[0].name = "patches"
    with httpx.Client(base_url=f"http://{host}", headers={"Authorization": f"Bearer {key}"}, timeout=60) as http:
        types.MetadataServerResponse.model_validate_json(http.get("/v2").content)
        about = types.MetadataModelResponse.model_validate_json(http.get(f"/v2/models/{model}").content)
        raw = http.post(f"/v2/models/{model}/infer", content=request.model_dump_json())
        refused = http.post("/v2/models/nope/infer", content=request.model_dump_json())
    response = types.InferenceResponse.model_validate_json(raw.content)
    logits, probability, decision, _ = response.outputs
    return {
        "inputs": [(each.name, each.datatype, each.shape) for each in about.inputs],
        "logits": codecs.NumpyCodec.decode_output(logits).tolist(),
        "probability": codecs.NumpyCodec.decode_output(probability).tolist(),
        "decision": codecs.StringCodec.decode_output(decision),
        "error": types.InferenceErrorResponse.model_validate_json(refused.content).error,
    }


print(json.dumps({"json": infer(False), "binary": infer(True), "codecs": by_codecs()}, default=str))
