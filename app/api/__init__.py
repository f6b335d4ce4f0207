"""HTTP only: parse, call, shape the answer."""
