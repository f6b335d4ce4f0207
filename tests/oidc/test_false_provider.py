"""What no identity provider should answer, and what a sign-in must not accept."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey
from sqlalchemy import Engine

from app.access.caller import Role
from app.access.keys import Keys
from app.access.people import Identity, People
from app.access.throttle import FailedTries
from app.oidc.attempt import Attempt
from app.oidc.bounded import MAX_BYTES
from app.oidc.provider import KEYS_RETRY_S, Provider
from app.oidc.sign_in import SignIn
from app.problems import ProviderUnavailable, SignInRefused, TooManyTries
from app.records.audit import AuditTrail
from app.records.migrations import migrate
from tests.app.conftest import Clock
from tests.oidc.conftest import client_of
from tests.oidc.false import NONCE, FalseProvider, compressed, false_provider, rsa
from tests.oidc.loop import run

WEEK_S = 7 * 24 * 3600  # longer than all tests take
DISCOVERY = "/.well-known/openid-configuration"
HS256 = b'{"alg": "HS256", "kid": "one"}'
ATTEMPT = Attempt("state", NONCE, "verifier" * 8, "", "")


@pytest.fixture
def false() -> Iterator[FalseProvider]:
    with false_provider() as provider:
        yield provider


@pytest.fixture
def provider(false: FalseProvider, secret_file: Path) -> Provider:
    return Provider(client_of(false.issuer, secret_file))


def person(provider: Provider) -> Identity:
    return run(provider.person, ATTEMPT, "code", "http://127.0.0.1:1/login/oidc/callback")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def reason(provider: Provider) -> str:
    with pytest.raises(SignInRefused) as refused:
        person(provider)
    return refused.value.reason


def test_good_tokens_of_each_algorithm(false: FalseProvider, provider: Provider) -> None:
    keys: list[tuple[str, Any]] = [
        ("RS256", false.key),
        ("PS256", rsa("ps")),
        ("ES256", ECKey.generate_key("P-256", {"kid": "es"})),
        ("EdDSA", OKPKey.generate_key("Ed25519", {"kid": "ed"})),
    ]
    false.keys = [key.as_dict(private=False) for _, key in keys]
    for algorithm, key in keys:
        false.sign(false.claims(roles=["readers"], name="Ada"), key, alg=algorithm)
        assert person(provider) == Identity(false.issuer, "ada", "Ada", Role.READ)
    false.sign(false.claims(aud=["rosette", "other"], azp="rosette", preferred_username="al"), x="a private header")
    assert person(provider).name == "al"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example.org"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": None},
        {"aud": ["rosette", "another-client"]},
        {"aud": ["rosette", "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"iat": None},
        {"iat": int(time.time()) + WEEK_S},
        {"iat": int(time.time()) - 3600},
        {"nbf": int(time.time()) + WEEK_S},
        {"nonce": None},
        {"nonce": ""},
        {"nonce": "another"},
        {"nonce": [NONCE]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 256},
        {"sub": "a\u0000b"},
        {"sub": "аda"},  # the first letter is Cyrillic
        {"at_hash": "another"},
    ],
    ids=", ".join,
)
def test_claims_that_do_not_fit(false: FalseProvider, provider: Provider, changes: dict[str, Any]) -> None:
    false.sign(false.claims(**changes))
    assert reason(provider) == "wrong-token"


def test_signatures_that_do_not_fit(false: FalseProvider, provider: Provider) -> None:
    shared = OctKey.import_key(provider.client.secret, {"kid": "two"})
    other = rsa("one", 3072)
    weak = rsa("weak", 1024)
    false.keys += [shared.as_dict(private=True), weak.as_dict(private=False), {"kty": "RSA", "n": 3}, {"kty": []}, 7]
    for algorithm, key in (("HS256", shared), ("RS256", other), ("RS256", weak)):
        false.sign(false.claims(), key, alg=algorithm)
        assert reason(provider) == "wrong-token"
    for token in ("", "a.b", "a.b.c", "....", "eyJhbGciOiJub25lIn0.e30.", 7, None, "x" * 200_000):
        false.token = {"id_token": token, "access_token": "a", "token_type": "Bearer"}
        assert reason(provider) == "wrong-token"
    false.sign(false.claims())
    head, _, signature = false.token["id_token"].split(".")
    none = "eyJhbGciOiJub25lIiwia2lkIjoib25lIn0"
    payload = false.token["id_token"].split(".")[1]
    # HMAC with the public key, which a verifier that believes the header would take.
    signing = f"{_encoded(HS256)}.{payload}"
    mac = hmac.digest(false.key.as_pem(private=False), signing.encode(), "sha256")
    for spoilt in (
        f"{signing}.{_encoded(mac)}",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{head}.e30.{signature}",
    ):
        false.token["id_token"] = spoilt
        assert reason(provider) == "wrong-token"


@pytest.mark.parametrize(
    ("held", "role"),
    [
        (["readers", "rosette-admins"], Role.ADMIN),
        (["readers"], Role.READ),
        ("readers", Role.READ),
        ("readers pathologists", None),
        ([], None),
        (None, None),
        (True, None),
        ({"readers": True}, None),
        ([["readers"]], None),
        (["readers"] * 1001, None),
        (["Readers", "admin", "read"], None),
    ],
)
def test_the_first_value_of_the_setting_that_a_person_has_counts(
    false: FalseProvider, provider: Provider, held: object, role: Role | None
) -> None:
    false.sign(false.claims(roles=held))
    assert person(provider).role is role


def test_new_keys_are_fetched_seldom(false: FalseProvider, secret_file: Path) -> None:
    clock = Clock(time.time())
    provider = Provider(client_of(false.issuer, secret_file), clock)
    false.sign(false.claims())
    assert person(provider).subject == "ada"
    new = rsa("new")
    false.keys = [dict(new.as_dict(private=False))]
    false.sign(false.claims(), new)
    for _ in range(3):
        assert reason(provider) == "wrong-token"
    assert false.asked["/keys"] == 1
    clock.now += KEYS_RETRY_S
    assert person(provider).subject == "ada"
    assert (false.asked["/keys"], false.asked[DISCOVERY]) == (2, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.example.org"},
        {"issuer": None},
        {"authorization_endpoint": "http://other.example.org/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": ["https://other.example.org/keys"]},
        {"end_session_endpoint": "//other.example.org"},
    ],
    ids=str,
)
def test_metadata_that_do_not_fit(false: FalseProvider, provider: Provider, changes: dict[str, Any]) -> None:
    false.metadata = changes
    with pytest.raises(ProviderUnavailable, match="so nobody can sign in there"):
        run(provider.metadata)


def test_without_tls_only_the_whole_provider_is_this_machine(false: FalseProvider, secret_file: Path) -> None:
    secure = Provider(client_of("https://login.example.org", secret_file))
    with pytest.raises(ProviderUnavailable, match="no https URL"):
        secure._wire.address(f"{false.issuer}/token", "token_endpoint")


@pytest.mark.parametrize("path", [DISCOVERY, "/keys", "/token"])
@pytest.mark.parametrize(
    "raw",
    [
        (b'{"a": "' + b"x" * MAX_BYTES + b'"}', {}, 200),
        compressed(10 * MAX_BYTES),
        (b"", {"Location": "http://127.0.0.1:1/"}, 302),
        (b"not JSON", {}, 200),
        (b"[]", {}, 200),
        (b"[" * 100_000, {}, 200),
        (b"\xff\xfe", {}, 200),
        (b"{}", {}, 500),
        (b"{}", {"Content-Length": "100"}, 200),
    ],
    ids=["large", "compressed", "elsewhere", "text", "list", "deep", "bytes", "failed", "short"],
)
def test_answers_are_bounded(
    false: FalseProvider, provider: Provider, path: str, raw: tuple[bytes, dict[str, str], int]
) -> None:
    false.sign(false.claims())
    false.raw[path] = raw
    with pytest.raises(ProviderUnavailable, match="did not answer as expected"):
        person(provider)


def test_a_provider_that_failed_is_left_alone_for_a_while(false: FalseProvider, secret_file: Path) -> None:
    clock = Clock(time.time())
    provider = Provider(client_of(false.issuer, secret_file), clock)
    false.raw[DISCOVERY] = (b"{}", {}, 500)
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            run(provider.metadata)
    assert false.asked[DISCOVERY] == 1
    del false.raw[DISCOVERY]
    clock.now += 5
    assert run(provider.metadata).keys_at == f"{false.issuer}/keys"


def test_a_refused_code(false: FalseProvider, provider: Provider) -> None:
    false.raw["/token"] = (b'{"error": "invalid_grant"}', {}, 400)
    assert reason(provider) == "wrong-code"


def test_who_is_refused_again_and_again_waits(false: FalseProvider, provider: Provider, sqlite: Engine) -> None:
    migrate(sqlite)
    trail = AuditTrail(sqlite)
    clock = Clock()
    tries = FailedTries(2, clock)
    sign_in = SignIn(provider, People(trail, Keys(sqlite, trail)), lambda: b"a secret", tries)

    def signed_in(**claims: Any) -> str:
        async def walk() -> str:
            address, cookie = await sign_in.begin("/cases", "", "http://127.0.0.1:1/login/oidc/callback")
            asked = parse_qs(urlsplit(address).query)
            false.sign(false.claims(nonce=asked["nonce"][0]) | claims)
            sent = {"state": asked["state"][0], "code": "c"}
            caller, attempt = await sign_in.finish(cookie, sent, "http://127.0.0.1:1/login/oidc/callback", "10.0.0.1")
            assert attempt.target == "/cases"
            return caller.name

        return run(walk)

    for _ in range(2):
        with pytest.raises(SignInRefused):
            signed_in(sub="guest")
    with pytest.raises(TooManyTries, match="wait a minute") as caught:
        signed_in(sub="guest")
    assert "sign-ins" in caught.value.title
    assert signed_in(name="Ada", roles="readers") == "Ada", "others do not wait for them"
    assert len([row for row in trail.page(9).entries if row.action == "session.refuse"]) == 2
    for _ in range(2):
        with pytest.raises(SignInRefused):
            signed_in(aud="another-client")
    with pytest.raises(TooManyTries):
        signed_in(name="Ada", roles="readers")
    clock.now += 6
    assert signed_in(name="Ada", roles="readers") == "Ada"
    assert sign_in.counts == {"no-role": 2, "wrong-token": 2, "opened": 2}
