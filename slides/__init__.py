"""Whole slides: from a file to a map that says where, how sure, and what could not be judged."""
