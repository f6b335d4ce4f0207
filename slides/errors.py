"""What goes wrong with a slide, as the person who gave it can use it."""

from __future__ import annotations


class SlideError(ValueError):
    """A slide cannot be scored, or a run cannot go on; the message says what happened and what to do."""
