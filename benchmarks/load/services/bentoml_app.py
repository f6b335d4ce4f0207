"""The artifact behind BentoML: an image as the input type, one worker process for each core."""

import os

import bentoml
import patch
from PIL.Image import Image


@bentoml.service(workers=int(os.environ["CORES"]))
class Patch:
    def __init__(self) -> None:
        self.session = patch.open_session()

    @bentoml.api
    def predict(self, image: Image) -> dict[str, list[float]]:
        return {"logits": patch.logits(self.session, patch.pixels(image)).tolist()}
