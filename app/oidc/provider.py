"""The identity provider: its metadata and keys, the address to sign in at, and the exchange of a code for a person."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from anyio import Lock, fail_after, to_thread
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from httpx2 import HTTPError
from joserfc.jwk import KeySet

from app.access.people import Identity, Refusal
from app.oidc.attempt import Attempt
from app.oidc.bounded import TIMEOUT_S, TooLargeError, Wire, unreachable
from app.oidc.settings import OidcClient
from app.oidc.tokens import UnknownKeyError, key_set, verified
from app.problems import ProviderUnavailable, SignInRefused

FRESH_S = 3600.0
RETRY_S = 5.0
KEYS_RETRY_S = 30.0
WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Metadata:
    """What the provider says of itself (OpenID Connect Discovery 1.0).

    Attributes:
        ends_at: where its session ends; empty if it announces no such place.
        posts_secret: whether the client's secret is sent in the body, because the header is not accepted.
        names_itself: whether each response names the issuer (RFC 9207).
    """

    authorizes_at: str
    gives_tokens_at: str
    keys_at: str
    ends_at: str
    posts_secret: bool
    names_itself: bool


class Provider:
    """One identity provider, asked only when a person signs in or out.

    Metadata are kept for an hour. Keys are fetched with them, and again when a token names an unknown one, at most
    every 30 seconds. After a failure the provider is not asked for 5 seconds.

    Args:
        client: what this server is to it.
        clock: seconds since the epoch.
    """

    def __init__(self, client: OidcClient, clock: Callable[[], float] = time.time) -> None:
        self.client = client
        self._clock = clock
        self._wire = Wire(client.issuer)
        self._lock = Lock()
        self._metadata: Metadata | None = None
        self._keys = KeySet([])
        self._asked_at = self._keys_at = float("-inf")
        self._failed_at = float("-inf")

    async def metadata(self) -> Metadata:
        """The provider's metadata.

        Raises:
            ProviderUnavailable: if it does not answer, or names another issuer.
        """
        async with self._lock:
            now = self._clock()
            if self._metadata is not None and 0 <= now - self._asked_at < FRESH_S:
                return self._metadata
            if 0 <= now - self._failed_at < RETRY_S:
                raise unreachable("it has just failed")
            try:
                found = await self._fetched()
                self._keys = key_set(await self._wire.get(found.keys_at))
            except ProviderUnavailable:
                self._failed_at = now
                raise
            self._metadata, self._asked_at, self._keys_at = found, now, now
            return found

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """Where the browser goes to sign in.

        Raises:
            ProviderUnavailable: if the provider does not answer.
        """
        metadata = await self.metadata()
        async with self._oauth(metadata) as oauth:
            url, _ = oauth.create_authorization_url(
                metadata.authorizes_at,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
                redirect_uri=redirect_uri,
            )
        return str(url)

    async def person(self, attempt: Attempt, code: str, redirect_uri: str) -> Identity:
        """Who signed in, for the code that the browser brought.

        Raises:
            SignInRefused: if the code or the ID token is not valid.
            ProviderUnavailable: if the provider does not answer.
        """
        metadata = await self.metadata()
        tokens = await self._exchanged(metadata, attempt, code, redirect_uri)
        token, access = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(token, str):
            raise SignInRefused(
                Refusal.WRONG_TOKEN, "The identity provider sent no ID token: tell your administrator to allow openid."
            )

        def verify() -> Identity:
            return verified(token, self._keys, self.client, attempt.nonce, access, self._clock())

        try:
            return await to_thread.run_sync(verify)
        except UnknownKeyError:
            await self._renew_keys(metadata)
        try:
            return await to_thread.run_sync(verify)
        except UnknownKeyError as error:
            raise SignInRefused(
                Refusal.WRONG_TOKEN,
                "The identity provider's answer is signed by an unknown key, so nobody was signed in: try again in a "
                "minute.",
            ) from error

    async def _fetched(self) -> Metadata:
        found = await self._wire.get(self.client.issuer.rstrip("/") + WELL_KNOWN)
        if found.get("issuer") != self.client.issuer:
            raise ProviderUnavailable(
                "The identity provider's metadata names another issuer than ROSETTE_OIDC_ISSUER, so nobody can sign in "
                "there: tell your administrator. Keys still work."
            )
        methods = found.get("token_endpoint_auth_methods_supported")
        ends_at = found.get("end_session_endpoint")
        return Metadata(
            authorizes_at=self._wire.address(found.get("authorization_endpoint"), "authorization_endpoint"),
            gives_tokens_at=self._wire.address(found.get("token_endpoint"), "token_endpoint"),
            keys_at=self._wire.address(found.get("jwks_uri"), "jwks_uri"),
            ends_at=self._wire.address(ends_at, "end_session_endpoint") if ends_at is not None else "",
            posts_secret=isinstance(methods, list) and "client_secret_basic" not in methods,
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )

    async def _renew_keys(self, metadata: Metadata) -> None:
        async with self._lock:
            now = self._clock()
            if not 0 <= now - self._keys_at < KEYS_RETRY_S:
                self._keys_at = now
                self._keys = key_set(await self._wire.get(metadata.keys_at))

    async def _exchanged(self, metadata: Metadata, attempt: Attempt, code: str, redirect_uri: str) -> dict[str, object]:
        try:
            with fail_after(TIMEOUT_S):
                async with self._oauth(metadata) as oauth:
                    found = await oauth.fetch_token(
                        metadata.gives_tokens_at,
                        grant_type="authorization_code",
                        code=code,
                        code_verifier=attempt.verifier,
                        redirect_uri=redirect_uri,
                    )
        except OAuthError as error:
            raise SignInRefused(
                Refusal.WRONG_CODE,
                "The identity provider did not accept the code of this sign-in: it was used already or is too old. "
                "Sign in again. If this happens again, tell your administrator: the client's secret may be wrong.",
            ) from error
        except (TimeoutError, TooLargeError, HTTPError, OSError, ValueError, RecursionError) as error:
            raise unreachable(error) from error
        return dict(found)

    def _oauth(self, metadata: Metadata) -> AsyncOAuth2Client:
        oauth = AsyncOAuth2Client(
            client_id=self.client.client_id,
            client_secret=self.client.secret,
            token_endpoint_auth_method="client_secret_post" if metadata.posts_secret else "client_secret_basic",
            scope=self.client.scope,
            code_challenge_method="S256",
            **self._wire.options,
        )
        oauth.register_client_auth_method(("client_secret_basic", _in_header))
        return oauth


def _in_header(client: Any, method: str, url: str, headers: Any, body: Any) -> Any:
    """Id and secret, each encoded as in a form (RFC 6749, section 2.3.1), which Authlib leaves out."""
    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return url, headers, body
