"""Offline side of Rosette: trains equivariant networks and turns them into INT8 artifacts."""

import model_zoo  # noqa: F401 - switches onnxruntime's telemetry off before any module here imports onnxruntime
