"""Whole slides behind the server: which are offered, what is shown of them, and runs that score them."""
