"""The address that webhooks go to. It comes from the settings only, never from a request."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

MAX_LENGTH = 2048
_VISIBLE = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Target:
    """Where webhooks go.

    Attributes:
        secure: whether with TLS; without it, only to this machine.
        path: with the query; may hold a secret of the receiver's.
    """

    secure: bool
    host: str
    port: int
    path: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """The address of a URL.

        Raises:
            ValueError: if it is neither https nor http to this machine, or has a user or a fragment.
        """
        if len(url) > MAX_LENGTH or not _VISIBLE.fullmatch(url) or "\\" in url:
            raise ValueError("is no URL of at most 2048 visible ASCII characters")
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme not in {"https", "http"} or not host or "@" in parts.netloc or "#" in url:
            raise ValueError("is no URL such as https://example.org/rosette, without a user and a fragment")
        if ":" not in host and not all(0 < len(label) <= 63 for label in host.removesuffix(".").split(".")):
            raise ValueError(
                f"has the host {host}, which is no name: a part of it is empty or longer than 63 characters; look for "
                "a dot too many"
            )
        secure = parts.scheme == "https"
        if not secure and not is_loopback(host):
            raise ValueError(
                "begins with http: use https, or the address of this machine, such as http://127.0.0.1:9000/"
            )
        path = parts.path or "/"
        return cls(
            secure, host, parts.port or (443 if secure else 80), f"{path}?{parts.query}" if parts.query else path
        )

    @property
    def authority(self) -> str:
        """Host and port as the header ``Host`` has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether this is this machine, by its name or address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
