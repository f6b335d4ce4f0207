"""Signatures of artifacts: Ed25519 over a fixed prefix and the artifact's SHA-256."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

PREFIX = b"rosette-artifact-v1\0"
SIGNATURE_BYTES = 64


class SignatureRefusedError(ValueError):
    """An artifact's signature is missing, malformed, or not made with a trusted key."""


def new_private_key() -> str:
    """A new Ed25519 key as PEM (PKCS #8), not encrypted."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(private_pem: str) -> str:
    """The public half of a private key, as the base64 of its 32 bytes.

    Raises:
        ValueError: if the text is not an Ed25519 private key in PEM.
    """
    return base64.b64encode(_private(private_pem).public_key().public_bytes_raw()).decode()


def sign(artifact_sha256: str, private_pem: str) -> str:
    """Sign an artifact by its SHA-256 (hexadecimal); returns the base64 of the 64 bytes.

    Raises:
        ValueError: if the text is not an Ed25519 private key in PEM.
    """
    return base64.b64encode(_private(private_pem).sign(_message(artifact_sha256))).decode()


def parse_signature(text: str) -> bytes:
    """A signature's 64 bytes from base64.

    Raises:
        SignatureRefusedError: if the text is not a signature.
    """
    try:
        signature = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureRefusedError(f"the signature is not base64: {error}") from error
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureRefusedError(f"the signature has {len(signature)} bytes, expected {SIGNATURE_BYTES}")
    return signature


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys that the administrator trusts; without keys no signature is required."""

    keys: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, text: str) -> TrustedKeys:
        """Public keys as base64 of 32 bytes each, separated by commas.

        Raises:
            ValueError: naming the first part that is not a public key.
        """
        found = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            try:
                key = base64.b64decode(part, validate=True)
                Ed25519PublicKey.from_public_bytes(key)
            except ValueError as error:
                raise ValueError(
                    f"{part!r} is not an Ed25519 public key in base64: `rosette models keygen` prints one"
                ) from error
            found.append(key)
        return cls(tuple(found))

    def check(self, artifact_sha256: str, signature: bytes | None) -> str:
        """Check a signature; returns a description of the signer.

        Raises:
            SignatureRefusedError: if keys are trusted and none of them made this signature.
        """
        if not self.keys:
            missing = "not signed" if signature is None else "signature not checked"
            return f"{missing}: none is required, because ROSETTE_TRUSTED_KEYS is not set"
        if signature is None:
            raise SignatureRefusedError("the artifact is not signed, and this server accepts signed artifacts only")
        for key in self.keys:
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(signature, _message(artifact_sha256))
            except InvalidSignature:
                continue
            return f"signed with the trusted key {fingerprint(key)}"
        raise SignatureRefusedError(f"none of the {len(self.keys)} trusted keys made this signature over these bytes")


def fingerprint(key: bytes) -> str:
    """The first 16 hexadecimal digits of a public key's SHA-256, to tell keys apart."""
    return sha256(key).hexdigest()[:16]


def _message(artifact_sha256: str) -> bytes:
    return PREFIX + bytes.fromhex(artifact_sha256)


def _private(pem: str) -> Ed25519PrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"the key is {type(key).__name__}, expected an Ed25519 private key")
    return key
