"""Write a real answer into the README. The script reads the response of `POST /predict` from standard input.

curl -H "Authorization: Bearer $(cat KEYFILE)" -F file=@docs/examples/tumour-2.png URL/predict |
    python scripts/readme_answer.py
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
REQUEST = """curl -H "Authorization: Bearer $(cat ~/.local/share/rosette/admin.key)" \\
     -F file=@docs/examples/tumour-2.png http://127.0.0.1:8000/predict"""
INTRODUCTION = (
    "`make serve` prints a `curl` command that you can run as it is. A request with a "
    "[real patch](docs/examples/README.md) of PatchCamelyon and part of its answer "
    "([docs/api.md](docs/api.md) describes every field):"
)
SHOWN = ("label", "probability", "basis", "decision", "reasons", "consistency", "quality", "patch", "model", "notice")
SHOWN_OF_CONSISTENCY = ("exact", "probabilities", "max_deviation", "limit", "consistent")


def shortened(value: object) -> str:
    """The value as JSON on one line; a long list is cut after four items, with four digits each."""
    if isinstance(value, list) and len(value) > 4:
        first = [f"{item:.4g}" if isinstance(item, float) else json.dumps(item) for item in value[:4]]
        return f"[{', '.join(first)}, …]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {shortened(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def pretty(answer: dict[str, object]) -> str:
    """The members of the answer that the README shows, one per line."""
    lines = []
    for key in SHOWN:
        value = answer[key]
        if key == "consistency" and isinstance(value, dict):
            value = {name: value[name] for name in SHOWN_OF_CONSISTENCY}
        lines.append(f"  {json.dumps(key)}: {shortened(value)}")
    return "{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    answer = json.load(sys.stdin)
    block = f"{INTRODUCTION}\n\n```sh\n{REQUEST}\n```\n\n```json\n{pretty(answer)}\n```\n"
    page = README.read_text(encoding="utf-8")
    marked = re.compile(r"(?<=<!-- answer -->\n).*(?=<!-- /answer -->)", re.DOTALL)
    README.write_text(marked.sub(lambda _: block, page), encoding="utf-8")
