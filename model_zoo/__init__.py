"""The contract between training and serving: the artifact format, its verification, the turns of a patch."""

import os

# onnxruntime reports its use to its makers unless this is set before it is imported; Rosette calls nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
