"""Signatures are accepted only from trusted keys."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.signatures import (
    SignatureRefusedError,
    TrustedKeys,
    new_private_key,
    parse_signature,
    public_key,
    sign,
)

ARTIFACT = sha256(b"an artifact").hexdigest()
OTHER = sha256(b"another artifact").hexdigest()


def test_a_trusted_signature_is_recognised_among_several_keys() -> None:
    first, second = new_private_key(), new_private_key()
    trusted = TrustedKeys.parse(f" {public_key(first)}, {public_key(second)},")
    for pem in (first, second):
        assert trusted.check(ARTIFACT, parse_signature(sign(ARTIFACT, pem))).startswith("signed with the trusted key ")


def test_what_is_signed_is_a_prefix_and_the_digest() -> None:
    """So that a signature made for something else is worthless here, and other tools can make ours."""
    pem = new_private_key()
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(pem)))
    key.verify(base64.b64decode(sign(ARTIFACT, pem)), b"rosette-artifact-v1\0" + sha256(b"an artifact").digest())


def test_other_signatures_are_refused() -> None:
    pem = new_private_key()
    trusted = TrustedKeys.parse(public_key(pem))
    signature = parse_signature(sign(ARTIFACT, pem))
    with pytest.raises(SignatureRefusedError, match="is not signed"):
        trusted.check(ARTIFACT, None)
    for artifact, bad in (
        (OTHER, signature),
        (ARTIFACT, parse_signature(sign(ARTIFACT, new_private_key()))),
        (ARTIFACT, signature[:-1] + bytes([signature[-1] ^ 1])),
    ):
        with pytest.raises(SignatureRefusedError, match="none of the 1 trusted keys made this signature"):
            trusted.check(artifact, bad)


def test_without_trusted_keys_nothing_is_asked_for() -> None:
    assert TrustedKeys.parse("").check(ARTIFACT, None).startswith("not signed: none is required")


@pytest.mark.parametrize("text", ["", "Ä", "abc", base64.b64encode(bytes(63)).decode()])
def test_malformed_signatures_are_refused(text: str) -> None:
    with pytest.raises(SignatureRefusedError, match="the signature"):
        parse_signature(text)


@pytest.mark.parametrize("text", ["x", "AAAA", "Ä" * 44])
def test_what_is_no_public_key_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"{text!r} is not an Ed25519 public key"):
        TrustedKeys.parse(f"{public_key(new_private_key())},{text}")


def test_other_private_keys_are_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ValueError, match="expected an Ed25519 private key"):
        sign(ARTIFACT, pem)
    with pytest.raises(ValueError, match="PEM"):
        sign(ARTIFACT, "nonsense")
