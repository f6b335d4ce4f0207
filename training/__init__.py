"""Training of equivariant networks and their quantization to INT8 artifacts."""

import model_zoo  # noqa: F401 - switches onnxruntime's telemetry off before any module here imports onnxruntime
