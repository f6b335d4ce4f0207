"""The client address of a request."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

UNKNOWN = "unknown"


def client_address(scope: Scope) -> str:
    """The IP address of a request's client, ``unknown`` when it has none.

    A proxy's value need not be an address; an IPv4 address mapped to IPv6 is returned as IPv4.
    """
    client = scope.get("client")
    return address_of(client[0]) if client else UNKNOWN


@lru_cache(1024)
def address_of(text: str) -> str:
    """An IP address as it is compared and logged; ``unknown`` if it is none."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    return str(getattr(address, "ipv4_mapped", None) or address)


def neighbourhood(address: str) -> str:
    """The addresses that one client can use: an IPv4 address, or the /64 network of an IPv6 address."""
    return str(IPv6Network((address, 64), strict=False)) if ":" in address else address
