"""The settings of the sign-in, and what a server without its packages says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.access.caller import Role
from app.settings import Settings
from tests.oidc.conftest import SECRET, settings_of

GOOD = "https://login.example.org/realms/clinic"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oidc_issuer", "http://login.example.org"),
        ("oidc_issuer", "https://login.example.org/?realm=clinic"),
        ("oidc_issuer", "https://login.example.org/#clinic"),
        ("oidc_issuer", "https://user@login.example.org"),
        ("oidc_issuer", "login.example.org"),
        ("oidc_issuer", "https://login.example.org/" + "a" * 200),
        ("oidc_client_id", "two words"),
        ("oidc_client_id", "x" * 256),
        ("oidc_roles", "a=admin;b=read"),
        ("oidc_roles", "a=admin | b=read"),
        ("oidc_roles", "pathologists=doctor"),
        ("oidc_roles", "pathologists"),
        ("oidc_roles", "=admin"),
        ("oidc_roles", "a=admin,a=read"),
        ("oidc_roles", "a=admin,"),
        ("oidc_scopes", "profile"),
        ("oidc_scopes", "openid\tprofile\n"),
        ("oidc_scopes", "openid \N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("oidc_claim", ""),
        ("oidc_claim", " "),
        ("oidc_label", " "),
        ("oidc_label", "Sign\nin"),
        ("oidc_label", "x" * 61),
        ("oidc_session_s", "59"),
        ("oidc_session_s", "43201"),
    ],
)
def test_a_bad_setting_names_itself_alone(secret_file: Path, name: str, value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**settings_of(GOOD, secret_file) | {name: value})
    # Defaults that need another setting are not made then; the commands leave these out.
    faults = [each for each in refused.value.errors() if each["type"] != "default_factory_not_called"]
    assert [each["loc"] for each in faults] == [(name,)]
    assert "pattern" not in str(refused.value)


def test_a_client_is_set_as_a_whole(secret_file: Path, tmp_path: Path) -> None:
    whole = settings_of(GOOD, secret_file)
    assert Settings().oidc_client() is None
    for name in whole:
        with pytest.raises(ValueError, match=f"also needs ROSETTE_{name.upper()}: set all of"):
            Settings(**{other: value for other, value in whole.items() if other != name})
    short = tmp_path / "short"
    short.write_text("two\nlines and\nmore")
    for file in (short, tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(ValueError, match="ROSETTE_OIDC_CLIENT_SECRET_FILE") as refused:
            Settings(**whole | {"oidc_client_secret_file": file})
        assert "two" not in str(refused.value)


def test_values_may_hold_equals_signs(secret_file: Path) -> None:
    found = Settings(
        **settings_of(GOOD, secret_file) | {"oidc_roles": "cn=path=pathologist, a b = admin, cn=reads;1=read"}
    ).oidc_client()
    assert found is not None
    assert list(found.roles.items()) == [("cn=path", Role.PATHOLOGIST), ("a b", Role.ADMIN), ("cn=reads;1", Role.READ)]
    assert SECRET not in repr(found)


def test_a_server_without_the_packages_says_what_to_install(secret_file: Path, tmp_path: Path) -> None:
    program = "import sys; sys.modules['authlib'] = None\nfrom app.commands.server import serve\nserve(None)"
    environment = {f"ROSETTE_{name.upper()}": str(value) for name, value in settings_of(GOOD, secret_file).items()}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"ROSETTE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert (
        "run pip install '.[oidc]' in Rosette's folder (for a wheel: pip install 'FILE.whl[oidc]'), or unset it"
        in done.stderr
    )
