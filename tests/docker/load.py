"""Load from several clients, and the answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

import httpx

from tests.docker.stack import PNG, Stack


class Load:
    """Clients that ask until they are stopped.

    Attributes:
        answered: ids of the answers that came.
        failures: how often what came instead, by status or kind of error.
    """

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.failures: Counter[str] = Counter()
        self.stopped = threading.Event()

    def ask(self, stack: Stack, png: bytes) -> None:
        with stack.client(timeout=20) as client:
            while not self.stopped.is_set():
                try:
                    response = client.post("/predict", content=png, headers=PNG, params={"rotations": "none"})
                except httpx.HTTPError as error:
                    self.failures[type(error).__name__] += 1
                    sleep(0.1)  # no connection is refused at once, ten times a second are enough
                    continue
                if response.status_code == 200:
                    self.answered.append(response.json()["id"])
                else:
                    self.failures[str(response.status_code)] += 1
                    sleep(0.1)


@contextmanager
def load(stack: Stack, png: bytes, clients: int = 4) -> Iterator[Load]:
    running = Load()
    threads = [threading.Thread(target=running.ask, args=[stack, png]) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stopped.set()
        for thread in threads:
            thread.join()
