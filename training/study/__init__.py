"""The study of equivariance and quantization: one grid, one budget, every figure with its interval."""
