"""One signed POST: no redirects, no proxies, within seconds, and nothing of the response but its status."""

from __future__ import annotations

import asyncio
import hmac
import re
import ssl
from hashlib import sha256
from ipaddress import ip_address

from app.version import version
from app.webhooks.target import Target

TIMEOUT_S = 5.0
SIGNATURE = "Rosette-Signature"
_MAX_LINE = 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})[ \r]")


class DeliveryError(Exception):
    """The receiver did not take it; says why, without its address."""


def signature(key: bytes, seconds: int, body: bytes) -> str:
    """The header's value: the time, and HMAC-SHA256 over the time, a full stop and the body."""
    return f"t={seconds},v1={hmac.new(key, b'%d.' % seconds + body, sha256).hexdigest()}"


async def deliver(target: Target, tls: ssl.SSLContext | None, body: bytes, signed: str) -> None:
    """Send a body; returns if the receiver answers 2xx.

    Raises:
        DeliveryError: if it does not, within 5 seconds.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await _exchange(target, tls, _request(target, body, signed))
    except TimeoutError as error:
        raise DeliveryError(f"there was no response within {TIMEOUT_S:g} s") from error
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise DeliveryError(f"the connection failed ({type(error).__name__})") from error
    if not 200 <= status < 300:
        raise DeliveryError(f"the response has the status {status}")


async def _exchange(target: Target, tls: ssl.SSLContext | None, request: bytes) -> int:
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=tls, limit=_MAX_LINE)
    try:
        if tls is None and not ip_address(writer.get_extra_info("peername")[0]).is_loopback:
            raise DeliveryError("the name stands for another machine, and the connection is not encrypted")
        writer.write(request)
        await writer.drain()
        found = _STATUS.match(await reader.readuntil(b"\n"))
    finally:
        writer.transport.abort()
    if found is None:
        raise DeliveryError("the response is not HTTP")
    return int(found[1])


def _request(target: Target, body: bytes, signed: str) -> bytes:
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: rosette/{version()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{SIGNATURE}: {signed}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
