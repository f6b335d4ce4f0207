"""Requests to the identity provider: bounded in size and time, without redirects, proxies or compression."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from anyio import fail_after

from app.problems import ProviderUnavailable
from app.webhooks.target import Target

TIMEOUT_S = 5.0
MAX_BYTES = 256 * 1024
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "rosette"}


class TooLargeError(Exception):
    """A response has more bytes than are read."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body, of which no more than ``MAX_BYTES`` are read."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._body:
            read += len(chunk)
            if read > MAX_BYTES:
                raise TooLargeError
            yield chunk

    async def aclose(self) -> None:
        await self._body.aclose()


class BoundedTransport(httpx2.AsyncHTTPTransport):
    """Refuses bodies that are too large or compressed: a few compressed bytes can stand for many."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise TooLargeError
        response.stream = _Bounded(response.stream)
        return response


class Wire:
    """Reaches the provider's addresses.

    Args:
        issuer: the provider. Its other addresses need TLS, unless its own is this machine's without TLS.
    """

    def __init__(self, issuer: str) -> None:
        self._plain = not Target.parse(issuer).secure
        self._tls = ssl.create_default_context()

    @property
    def options(self) -> dict[str, Any]:
        """What each client is made with."""
        return {
            "transport": BoundedTransport(verify=self._tls),
            "headers": HEADERS,
            "timeout": TIMEOUT_S,
            "follow_redirects": False,
            "trust_env": False,
        }

    def address(self, value: object, name: str) -> str:
        """An address out of the provider's metadata.

        Raises:
            ProviderUnavailable: if it is no https URL (or http to this machine, if the issuer is that, too).
        """
        try:
            if isinstance(value, str) and (Target.parse(value).secure or self._plain):
                return value
        except ValueError:
            pass
        raise ProviderUnavailable(
            f"The identity provider's metadata has no https URL as {name}, so nobody can sign in there: tell your "
            "administrator. Keys still work."
        )

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at an address.

        Raises:
            ProviderUnavailable: if there is none within 5 seconds and 256 KiB.
        """
        try:
            with fail_after(TIMEOUT_S):
                async with httpx2.AsyncClient(**self.options) as client:
                    response = await client.get(url)
            found = json.loads(response.content) if response.status_code == 200 else None
        except (TimeoutError, TooLargeError, httpx2.HTTPError, OSError, ValueError, RecursionError) as error:
            raise unreachable(error) from error
        if not isinstance(found, dict):
            raise unreachable(f"status {response.status_code}")
        return found


def unreachable(why: Exception | str) -> ProviderUnavailable:
    """The problem of a provider that does not answer as it should."""
    reason = why if isinstance(why, str) else type(why).__name__
    return ProviderUnavailable(
        f"The identity provider did not answer as expected ({reason}): try again later, or sign in with a key."
    )
