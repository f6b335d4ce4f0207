"""Which model serves: vetting an upload, storing it, swapping it in, comparing a candidate in its shadow."""
