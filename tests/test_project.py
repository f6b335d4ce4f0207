"""The README, the documentation, the Makefile and the command line agree with the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from typer.main import get_command

from app.main import create_app
from app.problems import Problem, WrongSize
from app.settings import OWN_PATHS, Settings
from model_zoo.cli import COMMANDS, application
from tests.conftest import ROOT

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
NAMES = {entry.name for entry in entry_points(group=COMMANDS)}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(page: str) -> list[str]:
    """Every line of a page's code blocks, continued lines joined, and its code spans; without comments."""
    blocks = "".join(re.findall(r"^```.*?\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    indented = re.findall(r"^ {4}(\S.*)", text(page), re.MULTILINE)
    lines = blocks.splitlines() + indented + re.findall(r"`([^`\n]+)`", text(page))
    return [line.partition(" #")[0].strip() for line in lines]


def commands(program: str) -> list[tuple[str, str]]:
    return [(page, line) for page in PAGES for line in code(page) if line.startswith(f"{program} ")]


def test_the_readme_names_its_two_commands() -> None:
    assert {"make serve", "make test"} <= set(code("README.md"))


@pytest.mark.parametrize(("page", "line"), commands("make"))
def test_make_commands_exist(page: str, line: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    assert line.split()[1] in targets, f"{page} names {line!r}, which the Makefile does not have"


@pytest.mark.parametrize(("page", "line"), commands("rosette"))
def test_rosette_commands_exist_with_their_options(page: str, line: str) -> None:
    name = line.split()[1]
    assert name in NAMES, f"{page} names {line!r}, which is no command"
    command = get_command(application([name]))
    known: set[str] = set()
    for word in line.split()[1:]:
        command = getattr(command, "commands", {}).get(word, command)
        known |= {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
    unknown = [word for word in line.split() if word.startswith("--") and word not in known]
    assert unknown == [], f"{page} names options that `rosette {name}` does not have"


@pytest.mark.parametrize("page", PAGES)
def test_local_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", text(page))
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(ROSETTE_\w+)` \| (.*?) \|", text("docs/settings.md"), re.MULTILINE))
    fields = {f"ROSETTE_{name.upper()}": field for name, field in Settings.model_fields.items()}
    assert set(rows) == set(fields)
    for name, field in fields.items():
        if isinstance(field.default, str | int | float):
            shown = field.default if isinstance(field.default, str) else json.dumps(field.default)
            assert rows[name] == f"`{shown}`", name


def test_every_route_is_documented() -> None:
    routes = {
        f"{method.upper()} {path}"
        for path, methods in create_app(Settings()).openapi()["paths"].items()
        for method in methods
    }
    assert "POST /predict" in routes
    documented = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /\S*)`", text("docs/api.md")))
    assert routes <= documented, f"docs/api.md lacks {sorted(routes - documented)}"


def test_a_prefix_cannot_be_a_path_of_the_server() -> None:
    routes = {path.split("/")[1] for path in create_app(Settings()).openapi()["paths"]}
    pages = re.findall(r"^\| `/([a-z]+)", text("docs/pages.md"), re.MULTILINE)
    assert "cases" in pages
    assert routes | set(pages) <= OWN_PATHS


def kinds_of_problem(kind: type[Problem] = Problem) -> set[type[Problem]]:
    return {kind}.union(*map(kinds_of_problem, kind.__subclasses__()))


def test_every_kind_of_problem_is_documented() -> None:
    documented = set(re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.*) \|", text("docs/api.md"), re.MULTILINE))
    kinds = {(kind.slug, str(kind.status), kind.title) for kind in kinds_of_problem() if "slug" in vars(kind)}
    assert WrongSize.slug in {slug for slug, *_ in kinds}
    assert kinds <= documented, f"docs/api.md lacks {sorted(kinds - documented)}"


def test_help_lists_every_command_without_loading_any() -> None:
    program = (
        "import json, sys; from model_zoo.cli import main; sys.argv = ['rosette', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print('\\nMODULES', json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    shown, _, modules = done.stdout.rpartition("MODULES")
    assert NAMES
    assert {name for name in NAMES if not re.search(rf"^\W*{name}\s", shown, re.MULTILINE)} == set()
    assert not set(json.loads(modules)) & {
        "torch",
        "e2cnn",
        "lightning",
        "onnx",
        "onnxruntime",
        "fastapi",
        "sqlalchemy",
    }
