"""Offline side of Rosette: trains equivariant networks and turns them into INT8 artifacts."""
