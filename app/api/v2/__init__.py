"""The Open Inference Protocol, version 2, which the clients of other inference servers speak."""
