"""Pictures that were made, as long as there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable


class PictureCache:
    """Bytes by key; those unused for longest make room. Any thread may use it.

    Args:
        most_bytes: of all pictures together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._size = 0
        self._pictures: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        with self._lock:
            if (picture := self._pictures.get(key)) is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: Hashable, picture: bytes) -> None:
        with self._lock:
            self._size += len(picture) - len(self._pictures.pop(key, b""))
            self._pictures[key] = picture
            while self._size > self._most and self._pictures:
                self._size -= len(self._pictures.popitem(last=False)[1])
