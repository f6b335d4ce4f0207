"""The interface between training and serving: the artifact format, its verification, the turns of a patch."""

import os

# Switches off onnxruntime's telemetry; must be set before onnxruntime is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
