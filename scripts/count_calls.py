"""Counts the modules and functions of ours that one warm ``POST /predict`` runs through in the server's process.

    python scripts/count_calls.py [--most MODULES CALLS]

A call is a call event of ``sys.setprofile`` in a file below ``app`` or ``model_zoo``: a coroutine that is resumed
counts again. What polls is left out: the journal's keeper, the thread that follows activations, the server's own tick.
Of several requests the one with the fewest calls counts: the others' bytes arrived in more pieces.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
from collections import Counter
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from time import sleep
from types import FrameType
from typing import Any

from PIL import Image

from app.main import create_app
from app.server import make_server
from app.settings import Settings
from model_zoo.opening import shipped_artifacts
from model_zoo.synthetic import synthetic_patch

ROOT = Path(__file__).parents[1]
PACKAGES = tuple(f"{ROOT / package}/" for package in ("app", "model_zoo"))
POLLING = {"keeper", "serving"}
TICK = "Server._serve"
WARM, COUNTED, SETTLED_S, START_S = 20, 5, 0.2, 120


class Profile:
    """Counts calls by module and function while :attr:`on` is set."""

    def __init__(self) -> None:
        self.on = False
        self.calls: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        ours = self.on and event == "call" and code.co_filename.startswith(PACKAGES)
        if ours and threading.current_thread().name not in POLLING and code.co_qualname != TICK:
            self.calls[str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname] += 1


def measure(profile: Profile) -> Counter[tuple[str, str]]:
    """Calls of one request, after others to a server of its own in this process, by module and function."""
    stream = BytesIO()
    Image.fromarray(synthetic_patch("tumour", 7)).save(stream, "JPEG", quality=90)
    with TemporaryDirectory() as home:
        settings = Settings(
            home=Path(home), model=shipped_artifacts()[0], host="127.0.0.1", port=0, inference_processes=1
        )
        app = create_app(settings)
        listening: SimpleQueue[int] = SimpleQueue()
        server = make_server(app, settings, listening.put)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            port = listening.get(timeout=START_S)
            key = (Path(home) / "admin.key").read_text().strip()
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "image/jpeg"}
            connection = http.client.HTTPConnection("127.0.0.1", port)
            counted = []
            for number in range(WARM + COUNTED):
                profile.calls, profile.on = Counter(), number >= WARM
                connection.request("POST", "/predict?rotations=none", stream.getvalue(), headers)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    raise SystemExit(f"the server answered with status {response.status}")
                if profile.on:
                    sleep(SETTLED_S)  # what follows the answer, such as its metrics, counts too
                    counted.append(profile.calls)
            profile.on = False
            connection.close()
            return min(counted, key=Counter.total)
        finally:
            server.should_exit = True
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--most", nargs=2, type=int, metavar=("MODULES", "CALLS"), help="exit with 1 beyond these")
    most = parser.parse_args().most
    profile = Profile()
    threading.setprofile(profile)
    calls = measure(profile)
    modules = Counter[str]()
    for (module, function), number in sorted(calls.items()):
        print(f"{number:4}  {module}  {function}")
        modules[module] += number
    print(f"{len(modules)} modules, {modules.total()} calls")
    if most and (len(modules) > most[0] or modules.total() > most[1]):
        sys.exit(1)


if __name__ == "__main__":
    main()
