"""Upgrade of a database with data of an earlier release: nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.records.migrations import scripts
from tests.docker.stack import PNG, Stack
from tests.scale import AT_NIGHT

ANSWERS = 20


def earlier() -> list[str]:
    """The very first schema, and the one before this."""
    config = Config()
    config.set_main_option("script_location", str(scripts()))
    revisions = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    return sorted({revisions[-1], revisions[1]})


GO_BACK = """
from alembic import command
from alembic.config import Config
from app.records.database import open_database
from app.records.migrations import scripts
from app.settings import Settings
config = Config()
config.set_main_option("script_location", str(scripts()))
with open_database(Settings().sqlalchemy_url()).begin() as connection:
    config.attributes["connection"] = connection
    command.downgrade(config, "{revision}")
"""


first, before = earlier()


@pytest.mark.parametrize("revision", [first, pytest.param(before, marks=AT_NIGHT)])
def test_nothing_is_lost_from_an_earlier_schema(new_stack: Callable[..., Stack], png: bytes, revision: str) -> None:
    stack = new_stack(f"upgrade{revision}")
    stack.up()
    with stack.client() as client:
        key = client.post("/admin/keys", json={"role": "predict", "name": "microscope"}).json()["key"]
        with stack.client(key) as microscope:
            ids = [microscope.post("/predict", content=png, headers=PNG).json()["id"] for _ in range(ANSWERS)]
        answers = {each: client.get(f"/predictions/{each}").text for each in ids}
    stack.compose("stop", "proxy", "app")
    stack.compose("run", "--rm", "--no-deps", "-T", "app", "python", "-c", GO_BACK.format(revision=revision))
    assert stack.sql("SELECT version_num FROM alembic_version") == revision
    kept = [table for table in ("models", "activations", "audit") if table in stack.sql("\\dt")]
    before = {table: stack.sql(f"SELECT * FROM {table} ORDER BY 1") for table in kept}

    stack.up("--scale", "app=2")

    with stack.client() as client:
        assert {each: client.get(f"/predictions/{each}").text for each in ids} == answers
        assert client.get("/admin/audit/verify").json()["whole"] is True
        assert client.post("/predict", content=png, headers=PNG).status_code == 200
    with stack.client(key) as microscope:
        assert microscope.get(f"/predictions/{ids[0]}").status_code == 200
    for table, rows in before.items():
        assert stack.sql(f"SELECT * FROM {table} ORDER BY 1").startswith(rows), table
    stack.down()
