"""The artifact behind MLServer: a custom runtime, base64 as the content type, a parallel worker for each core."""

from __future__ import annotations

import patch
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class PatchRuntime(MLModel):
    async def load(self) -> bool:
        self.session = patch.open_session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        [data] = self.decode(payload.inputs[0], default_codec=Base64Codec)
        logits = patch.logits(self.session, patch.decode(data))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("logits", logits[None])])
