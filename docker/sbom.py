"""Write an image's bill of materials in CycloneDX JSON: its Python packages, system packages and Go modules.

Runs during an image's build, so it uses only the standard library.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def paragraphs(path: Path) -> Iterator[dict[str, str]]:
    """The records of a file of ``name: value`` (dpkg) or ``X:value`` (apk) lines, split by empty lines."""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if ":" in line and not line.startswith(" ")]
        if lines:
            yield {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def debian(path: Path) -> Iterator[Component]:
    """The installed packages in dpkg's status file."""
    for record in paragraphs(path):
        if record.get("Status", "").endswith(" installed"):
            architecture = f"?arch={record['Architecture']}"
            yield component("deb/debian", record["Package"], record["Version"], architecture)


def alpine(path: Path) -> Iterator[Component]:
    """The packages of apk's database."""
    for record in paragraphs(path):
        yield component("apk/alpine", record["P"], record["V"], f"?arch={record['A']}")


def go(path: Path) -> Iterator[Component]:
    """The modules in the output of ``caddy build-info``."""
    for line in path.read_text(encoding="utf-8").splitlines():
        match line.split("\t"):
            case ["dep" | "mod", name, version, *_]:
                yield component("golang", name, version)


def component(kind: str, name: str, version: str, suffix: str = "") -> Component:
    """A library by its package URL."""
    url = f"pkg:{kind}/{quote(name)}@{quote(version)}{suffix}"
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


def bill(python: Path | None, components: list[Component]) -> dict[str, Any]:
    """The bill of the Python environment, if there is one, and these components; deterministic."""
    document = json.loads(python.read_text(encoding="utf-8")) if python else {}
    document |= {"bomFormat": "CycloneDX", "specVersion": document.get("specVersion", "1.6"), "version": 1}
    unique = {entry["bom-ref"]: entry for entry in document.get("components", []) + components}
    document["components"] = [unique[reference] for reference in sorted(unique)]
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, help="the bill that cyclonedx-py wrote")
    readers = {"dpkg": debian, "apk": alpine, "go": go}
    for name in readers:
        parser.add_argument(f"--{name}", type=Path, help="left out where there is no such file")
    given = vars(parser.parse_args())
    found = [
        entry for name, read in readers.items() if (path := given[name]) and path.is_file() for entry in read(path)
    ]
    print(json.dumps(bill(given["python"], found), indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
