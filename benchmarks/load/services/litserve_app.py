"""The artifact behind LitServe: an uploaded file, one inference worker and one API server for each core."""

from __future__ import annotations

import os

import litserve
import numpy as np
import patch
from fastapi import UploadFile


class PatchAPI(litserve.LitAPI):
    def setup(self, device):
        self.session = patch.open_session()

    def decode_request(self, request: UploadFile):
        return patch.decode(request.file)

    def predict(self, pixels):
        return patch.logits(self.session, pixels)

    def encode_response(self, output: np.ndarray):
        return {"logits": output.tolist()}


# LitServe reads the annotations themselves, not their names.
PatchAPI.decode_request.__annotations__["request"] = UploadFile

if __name__ == "__main__":
    server = litserve.LitServer(PatchAPI(), accelerator="cpu", devices=1, workers_per_device=int(os.environ["CORES"]))
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", generate_client_file=False)
