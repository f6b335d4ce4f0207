"""The study of equivariance and quantization."""
