"""The check of ID tokens: OpenID Connect Core 1.0, section 3.1.3.7."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwk, jwt
from joserfc.errors import InvalidKeyIdError, JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry

from app.access.people import SUBJECT_LENGTH, Identity, Refusal
from app.oidc.settings import OidcClient
from app.problems import SignInRefused

# No algorithm with a shared secret, and never "none".
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
LEEWAY_S = 60
MAX_AGE_S = 600
MAX_KEYS = 64
_RSA_CHARACTERS = range(342, 1367)  # of a modulus of 2048 to 8192 bits, in base64
_PARTS = ("kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y")


class _Registry(JWSRegistry):
    """Knows only our algorithms, and does not warn of EdDSA, which RFC 9864 calls Ed25519."""

    def get_alg(self, name: str) -> Any:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


_HEADERS = _Registry(strict_check_header=False)


class UnknownKeyError(Exception):
    """No known key has signed the token: the provider may have a new one."""


def key_set(found: Mapping[str, Any]) -> jwk.KeySet:
    """The public keys of a JWKS that can sign ID tokens; others, and malformed ones, are left out."""
    listed = found.get("keys")
    usable = []
    for data in listed[:MAX_KEYS] if isinstance(listed, list) else []:
        if isinstance(data, dict) and _can_sign(data):
            with suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
                usable.append(jwk.import_key({name: data[name] for name in _PARTS if name in data}))
    return jwk.KeySet(usable)


def _can_sign(data: dict[str, Any]) -> bool:
    modulus = data.get("n")
    fits = isinstance(modulus, str) and len(modulus) in _RSA_CHARACTERS
    return data.get("use") != "enc" and (data.get("kty") in ("EC", "OKP") or (data.get("kty") == "RSA" and fits))


def verified(
    token: str, keys: jwk.KeySet, client: OidcClient, nonce: str, access_token: object, now: float
) -> Identity:
    """Who an ID token says signed in.

    Args:
        token: as the token endpoint gave it.
        keys: the provider's.
        nonce: of this sign-in.
        access_token: that came with it, for ``at_hash``.
        now: seconds since the epoch.

    Raises:
        UnknownKeyError: if none of the keys may have signed it.
        SignInRefused: if it is not valid.
    """
    try:
        signed = jwt.decode(token, keys, registry=_HEADERS)
        _check(CodeIDToken(signed.claims, signed.header, _expected(client), _given(client, nonce, access_token)), now)
    except InvalidKeyIdError as error:
        raise UnknownKeyError from error
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise _refused(type(error).__name__) from error
    return _identity(signed.claims, client)


def _expected(client: OidcClient) -> dict[str, Any]:
    return {
        "iss": {"essential": True, "value": client.issuer},
        "aud": {"essential": True, "value": client.client_id},
        "sub": {"essential": True},
        "exp": {"essential": True},
        "iat": {"essential": True},
        "nonce": {"essential": True},
    }


def _given(client: OidcClient, nonce: str, access_token: object) -> dict[str, Any]:
    return {
        "client_id": client.client_id,
        "nonce": nonce,
        "access_token": access_token if isinstance(access_token, str) else None,
    }


def _check(claims: Any, now: float) -> None:
    claims.validate(now=int(now), leeway=LEEWAY_S)
    if now - claims["iat"] > MAX_AGE_S:
        raise ValueError("the token is old")


def _identity(claims: Mapping[str, Any], client: OidcClient) -> Identity:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LENGTH or not _visible(subject):
        raise _refused("sub")
    names = (claims.get(name) for name in ("name", "preferred_username", "email"))
    name = next((name for name in names if isinstance(name, str) and name.strip()), "")
    return Identity(client.issuer, subject, name, client.role_of(claims))


def _visible(subject: str) -> bool:
    return subject.isascii() and subject.isprintable()


def _refused(why: str) -> SignInRefused:
    return SignInRefused(
        Refusal.WRONG_TOKEN,
        f"The identity provider's answer is not valid ({why}), so nobody was signed in: sign in again. If this happens "
        "again, tell your administrator: the clocks, the client's id or the signing algorithm may differ.",
    )
