"""One attempt to sign in, sealed in a cookie of the browser that makes it."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Self

from cryptography.fernet import Fernet, InvalidToken

COOKIE = "rosette_sign_in"
LIFETIME_S = 600
MAX_TARGET = 1000


@dataclass(frozen=True)
class Attempt:
    """What ties the provider's response to the browser that asked.

    Attributes:
        state: comes back with the response (RFC 6749, section 10.12).
        nonce: comes back in the ID token.
        verifier: proves at the token endpoint that this server began the sign-in (RFC 7636).
        target: the page to go on to; empty for the start page.
        before: the token of the session that the browser had; empty if it had none.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    target: str
    before: str = field(repr=False)

    @classmethod
    def begin(cls, target: str, before: str) -> Self:
        """A new attempt."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, target if len(target) <= MAX_TARGET else "", before[:64])


class Seal:
    """Encrypts attempts, so that a browser can neither read nor change nor make one.

    Args:
        secret: of this installation; all its servers open each other's.
    """

    def __init__(self, secret: bytes) -> None:
        key = hmac.new(secret, b"rosette sign-in at an identity provider", sha256).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def sealed(self, attempt: Attempt, now: float) -> str:
        """The cookie's value."""
        return self._fernet.encrypt_at_time(json.dumps(asdict(attempt)).encode(), int(now)).decode()

    def opened(self, text: str, now: float) -> Attempt | None:
        """The attempt; None if it is not one of the last ten minutes."""
        try:
            return Attempt(**json.loads(self._fernet.decrypt_at_time(text.encode(), LIFETIME_S, int(now))))
        except (InvalidToken, ValueError):
            return None
