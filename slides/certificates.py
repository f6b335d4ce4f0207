"""The certificates with which this machine speaks to a cluster, checked before they are used."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from slides.errors import SlideError

CA, CERTIFICATE, KEY = TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_CHECK = "have the site's CA make a new one"


def checked(address: str, folder: Path | None) -> tuple[str, str, str]:
    """Paths of the CA's certificate, this machine's, and its key.

    Args:
        address: of the scheduler, for the message.
        folder: with the three files.

    Raises:
        SlideError: naming the file that is missing, damaged, expired or does not fit the others.
    """
    missing = [name for name in TLS_FILES if folder is None or not (folder / name).is_file()]
    if folder is None or missing:
        raise SlideError(
            f"{address} needs --cluster-tls FOLDER with {', '.join(TLS_FILES)}; missing: {', '.join(missing)}"
        )
    ca, certificate, key = (folder / name for name in TLS_FILES)
    _check_dates(ca)
    _check_dates(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(certificate, key, password=_refused(key))
    except (OSError, ValueError) as error:
        raise SlideError(
            f"{key} cannot be used with {certificate} ({error}): it must be this certificate's private key, in PEM "
            "and without a password"
        ) from error
    return str(ca), str(certificate), str(key)


def handshake_failure(error: BaseException, folder: Path) -> str:
    """What to check if a connection failed because of a certificate; empty if it failed otherwise."""
    text = ""
    cause: BaseException | None = error
    while cause is not None and not text:
        if isinstance(cause, ssl.SSLError):
            text = cause.reason or str(cause)
        cause = cause.__cause__ or cause.__context__
    if not text:
        return ""
    return (
        f"the TLS connection failed ({text.lower().replace('_', ' ')}): {folder / CA} must be the certificate of the "
        f"CA that signed the scheduler's, and the scheduler's --tls-ca-file that of the one that signed {CERTIFICATE}"
    )


def _check_dates(path: Path) -> None:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SlideError(f"{path} holds no certificate in PEM ({error}): {_CHECK}") from error
    now = datetime.now(UTC)
    for each in found:
        if now > each.not_valid_after_utc:
            raise SlideError(f"{path} expired on {each.not_valid_after_utc:%Y-%m-%d}: {_CHECK}")
        if now < each.not_valid_before_utc:
            raise SlideError(f"{path} is valid from {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock")


def _refused(key: Path) -> Callable[[], str]:
    def refuse() -> str:
        raise ValueError(f"{key.name} has a password")

    return refuse
