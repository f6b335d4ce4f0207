"""A patch's way from bytes to verdict: decode → assess quality → orbit → infer → report."""
