"""The contenders: servers and their requests."""

from __future__ import annotations

import json
import os
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.load.environments import environment, source_of
from benchmarks.load.processes import Family, free_port, launch
from benchmarks.load.wrk import Request
from model_zoo.network import Network
from model_zoo.synthetic import synthetic_patch

ROOT = Path(__file__).resolve().parent.parent.parent
SERVICES = Path(__file__).with_name("services")
KEY = "the-load-benchmark-brings-its-own-admin-key"
START_S = 90.0
BATCH, BATCH_CONNECTIONS = 64, 2
QUALITY = 75
IMAGES = {"jpeg": ("JPEG", {"quality": QUALITY})}
MAIN_IMAGE = "jpeg"
EARLIER = "9bfe57bf0bc7"  # before issue 16, on 2026-11-28

PEERS = ("litserve", "bentoml", "mlserver")
ROSETTES = ("rosette", "earlier")
SERVERS = (*ROSETTES, "bare", *PEERS)


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Attributes:
        server: one of SERVERS, of which ``"earlier"`` is Rosette at EARLIER; ``"raw"`` and ``"raw+decode"`` are
            onnxruntime without a server.
        rotations: of Rosette and its bare engine.
        form: how the patch is sent: ``"raw"`` body, ``"multipart"``, ``"batch"`` or ``"json"`` with base64.
    """

    name: str
    what: str
    server: str
    image: str = MAIN_IMAGE
    rotations: str = "none"
    form: str = "raw"

    @property
    def patches(self) -> int:
        """Patches per request."""
        return BATCH if self.form == "batch" else 1

    @property
    def quick(self) -> bool:
        """Whether it is measured for ``fast``, too."""
        return self.server in ("raw", "raw+decode", "rosette", "earlier") and self.form != "multipart"

    def connections(self, wanted: int) -> int:
        return min(wanted, BATCH_CONNECTIONS) if self.form == "batch" else wanted


RAW, DECODE, NONE, FULL = "onnxruntime alone", "onnxruntime and decoding", "Rosette, none", "Rosette, full"
BEFORE = "Rosette before, none"
CONTENDERS = (
    Contender(RAW, "no server, no decoding: one thread per core calls a session of one thread", "raw"),
    Contender(DECODE, "the same, with decoding of the image for each call: raw + decode", "raw+decode"),
    Contender(NONE, "`POST /predict?rotations=none`, raw body; keys, quality check and database on", "rosette"),
    Contender(BEFORE, f"the same with the code of commit `{EARLIER}`, in today's environment", "earlier"),
    Contender("Rosette, none, multipart", "`POST /predict?rotations=none` as a form", "rosette", form="multipart"),
    Contender(FULL, "`POST /predict?rotations=full`, raw body", "rosette", rotations="full"),
    Contender(
        "Rosette, batch",
        f"`POST /predict/batch?rotations=none`, {BATCH} patches in a request, {BATCH_CONNECTIONS} connections",
        "rosette",
        form="batch",
    ),
    Contender(
        "bare engine, none",
        "Rosette's engine (decode, quality check, report) behind uvicorn alone: no database, no keys, no limits "
        "(`benchmarks/load/bare.py`)",
        "bare",
    ),
    Contender(
        "LitServe",
        "`LitAPI` with an `UploadFile`, decoded in `decode_request`; one inference worker and one API server a core",
        "litserve",
        form="multipart",
    ),
    Contender(
        "BentoML",
        "`@bentoml.service(workers=cores)`, a synchronous `@bentoml.api` that takes a `PIL.Image`, sent as a form",
        "bentoml",
        form="multipart",
    ),
    Contender(
        "MLServer",
        "a custom `MLModel` with `parallel_workers=cores`; open inference protocol in JSON, the image in base64",
        "mlserver",
        form="json",
    ),
)
PATHS = {"litserve": "/predict", "bentoml": "/predict", "mlserver": "/v2/models/patch/infer"}
FIELDS = {"rosette": "file", "litserve": "request", "bentoml": "image"}


def images() -> dict[str, bytes]:
    """The one synthetic patch, as files of each format."""
    pixels, files = Image.fromarray(synthetic_patch("tumour", 1)), {}
    for name, (file_format, options) in IMAGES.items():
        stream = BytesIO()
        pixels.save(stream, file_format, **options)
        files[name] = stream.getvalue()
    return files


class Server:
    """A running server of one artifact.

    Attributes:
        family: its processes.
    """

    def __init__(self, name: str, artifact: Path, folder: Path, cores: int) -> None:
        self.name = name
        self.folder = folder
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.reference = Network(artifact.read_bytes())
        own = {"ARTIFACT": str(artifact), "CORES": str(cores), "PORT": str(port)}
        if name in ROSETTES:
            own |= {
                "ROSETTE_HOME": str(folder / f"home-{name}"),
                "ROSETTE_PORT": str(port),
                "ROSETTE_MODEL": str(artifact),
            }
            own |= {"ROSETTE_ADMIN_KEY": KEY}
            own |= {"PYTHONPATH": str(ROOT if name == "rosette" else source_of(EARLIER))}
            command = [str(Path(sys.executable).with_name("rosette")), "serve"]
        elif name == "bare":
            own |= {"PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "uvicorn", "benchmarks.load.bare:app", "--port", str(port)]
            command += ["--log-level", "warning"]
        else:
            command = self._command_of_peer(name, port)
            own |= {"PYTHONPATH": str(SERVICES)}
            own |= {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
            own |= {"MLSERVER_HOST": "127.0.0.1", "MLSERVER_DEBUG": "false", "MLSERVER_PARALLEL_WORKERS": str(cores)}
            own |= {"MLSERVER_HTTP_PORT": str(port), "MLSERVER_GRPC_PORT": str(free_port())}
            own |= {"MLSERVER_METRICS_PORT": str(free_port())}
        outside = {key: value for key, value in os.environ.items() if not key.startswith("ROSETTE_")}
        self.family: Family = launch(command, outside | own, folder / name)

    @staticmethod
    def _command_of_peer(name: str, port: int) -> list[str]:
        binaries = environment(name)
        return {
            "litserve": [str(binaries / "python"), str(SERVICES / "litserve_app.py")],
            "bentoml": [
                *(str(binaries / "bentoml"), "serve", "bentoml_app:Patch", "--working-dir", str(SERVICES)),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            "mlserver": [str(binaries / "mlserver"), "start", str(SERVICES / "patch_model")],
        }[name]

    def request(self, contender: Contender, image: bytes) -> Request:
        """The request of a contender, its body in a file."""
        path = PATHS.get(self.name, "/predict")
        if self.name in (*ROSETTES, "bare"):
            path += f"{'/batch' if contender.form == 'batch' else ''}?rotations={contender.rotations}"
        kind = f"image/{contender.image}"
        content: dict[str, Any]
        if contender.form == "raw":
            content = {"content": image, "headers": {"Content-Type": kind}}
        elif contender.form == "json":
            tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "data": [b64encode(image).decode()]}
            content = {"json": {"inputs": [tensor | {"parameters": {"content_type": "base64"}}]}}
        else:
            file = (FIELDS[self.name], (f"patch.{contender.image}", image, kind))
            content = {"files": [file] * contender.patches}
        built = httpx.Request("POST", self.url + path, **content)
        body = self.folder / f"{self.name}-{contender.name}.body".replace(" ", "-").replace(",", "")
        body.write_bytes(built.read())
        headers = [f"Content-Type: {built.headers['content-type']}"]
        if self.name in ROSETTES:
            headers.append(f"Authorization: Bearer {KEY}")
        return Request(str(built.url), headers=tuple(headers), body=body)

    def check(self, contender: Contender, image: bytes) -> Request | None:
        """The request of a contender, if the server answers it with the artifact's logits.

        Returns None if the server has no such route.

        Raises:
            RuntimeError: if it returns another answer, or times out.
        """
        if contender.form == "batch" and not self._has_batch():
            return None
        request = self.request(contender, image)
        assert request.body is not None
        body, told = request.body.read_bytes(), dict(line.split(": ", 1) for line in request.headers)
        deadline = time.monotonic() + START_S
        while True:
            try:
                response = httpx.post(request.url, content=body, headers=told, timeout=30, trust_env=False)
                said = f"{response.status_code} {response.text}"
                if response.status_code == 200:
                    break
            except httpx.TransportError as error:
                said = repr(error)
            if not self.family.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"{contender.name} answers {said}; its server printed:\n{self.family.said()}")
            time.sleep(0.2)
        answer = response.json()
        found = np.array(LOGITS[contender.form if contender.form == "batch" else self.name](answer), np.float32)
        pixels = np.asarray(Image.open(BytesIO(image)))
        expected = np.repeat(self.reference.logits(pixels[None]), contender.patches, axis=0)
        if not np.array_equal(found.reshape(-1, 2), expected):
            raise RuntimeError(f"{contender.name} answers {found.tolist()}, the artifact {expected.tolist()}")
        return request

    def _has_batch(self) -> bool:
        described = httpx.get(f"{self.url}/openapi.json", timeout=30, trust_env=False)
        return "/predict/batch" in json.loads(described.text)["paths"]


LOGITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "rosette": lambda answer: answer["logits"],
    "earlier": lambda answer: answer["logits"],
    "batch": lambda answer: [result["logits"] for result in answer["results"]],
    "bare": lambda answer: answer["logits"],
    "litserve": lambda answer: answer["logits"],
    "bentoml": lambda answer: answer["logits"],
    "mlserver": lambda answer: answer["outputs"][0]["data"],
}
