"""Install packages with uv, in a fraction of pip's time; with pip where uv is not to be had or does not find them all.

usage: PYTHON scripts/install.py ARGUMENT…

The arguments are those of ``pip install`` that uv has too. What pip is configured to use (indexes, links, constraints,
certificates) is told to uv, unless variables of uv's own say otherwise.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
UV = [sys.executable, "-m", "uv", "pip", "install", "--no-progress", "--python", sys.executable]
VARIABLES = {  # pip's option: uv's variable, and what separates several values there
    "cert": ("SSL_CERT_FILE", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "no-index": ("UV_NO_INDEX", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
SECTIONS = ("global", "install", ":env:")  # later ones win


def pip_options() -> dict[str, str]:
    """pip's options by their names, from its files and variables."""
    listed = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in found:
            found[section][option] = ast.literal_eval(value)
    return {option: value for section in SECTIONS for option, value in found[section].items()}


def uv_environment() -> dict[str, str]:
    """The environment in which uv looks where pip would look, for the newest version that any index has."""
    options = pip_options()
    told = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, (variable, separator) in VARIABLES.items():
        if option in options:
            told[variable] = separator.join(options[option].split())
    return told | os.environ


def main(arguments: list[str]) -> int:
    if subprocess.run([*PIP, "install", "--quiet", "uv"]).returncode == 0:
        if subprocess.run([*UV, *arguments], env=uv_environment()).returncode == 0:
            return 0
        print("uv could not install this: pip tries it", flush=True)
    return subprocess.run([*PIP, "install", *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
