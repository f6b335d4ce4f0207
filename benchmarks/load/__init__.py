"""Load test of Rosette, onnxruntime alone and other model servers, in one run on one machine."""
