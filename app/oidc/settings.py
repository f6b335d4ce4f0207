"""The settings of the sign-in at an identity provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from app.access.caller import Role
from app.secret_files import read_secret_text
from app.webhooks.target import Target

MAX_ISSUER = 200
SECRET_MIN_LENGTH = 8
MAX_VALUES = 1000
# A whole pair before a separator of other lists; a claim's value may hold equals signs.
_OTHER_SEPARATOR = re.compile(rf"=\s*({'|'.join(Role)})\s*[;|\r\n]")


@dataclass(frozen=True)
class OidcClient:
    """What this server is to the identity provider.

    Attributes:
        issuer: the provider, as its tokens name it.
        roles: the role of each value of the claim, the first that a person has counts.
    """

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    claim: str
    roles: Mapping[str, Role]
    scope: str

    def role_of(self, claims: Mapping[str, Any]) -> Role | None:
        """The role that a token's claims give; None if they give none."""
        held = claims.get(self.claim)
        values = [held] if isinstance(held, str) else held if isinstance(held, list) else []
        if len(values) > MAX_VALUES:
            return None
        return next((role for value, role in self.roles.items() if value in values), None)


def parse_roles(text: str) -> dict[str, Role]:
    """``VALUE=ROLE`` pairs with commas between them, in their order.

    Raises:
        ValueError: if one is none, or names a value twice.
    """
    found: dict[str, Role] = {}
    for pair in text.split(","):
        value, _, name = pair.strip().rpartition("=")
        value, name = value.strip(), name.strip()
        if not value or name not in set(Role):
            raise ValueError(
                "has a part that is no VALUE=ROLE: write such as pathologists=pathologist,rosette-admins=admin; "
                f"the roles are {', '.join(Role)}"
            )
        if _OTHER_SEPARATOR.search(value):
            raise ValueError(
                "has several pairs without a comma between them: write such as "
                "pathologists=pathologist,rosette-admins=admin"
            )
        if value in found:
            raise ValueError("gives one value two roles: give it one")
        found[value] = Role(name)
    return found


class OidcSettings(BaseSettings):
    """Where people sign in; off unless the issuer is set.

    Attributes:
        oidc_issuer: the provider's issuer URL: https, or http to this machine.
        oidc_client_id: this server's id at the provider.
        oidc_client_secret_file: a file with its secret there.
        oidc_claim: the claim of the ID token that gives the role: a text or a list of texts.
        oidc_roles: ``VALUE=ROLE`` pairs with commas between them; the first whose value a person has counts.
        oidc_scopes: what is asked of the provider, with spaces between.
        oidc_label: the text of the button on the sign-in page.
        oidc_session_s: seconds after which a person must sign in again.
    """

    oidc_issuer: str | None = None
    oidc_client_id: str | None = None
    oidc_client_secret_file: Path | None = None
    oidc_claim: str = Field(default="roles", min_length=1, max_length=255)
    oidc_roles: str | None = None
    oidc_scopes: str = "openid profile"
    oidc_label: str = Field(default="Sign in with your organization", min_length=1, max_length=60)
    oidc_session_s: int = Field(default=28800, ge=60, le=43200)

    @field_validator("oidc_issuer")
    @classmethod
    def _an_issuer(cls, issuer: str | None) -> str | None:
        if issuer is not None:
            Target.parse(issuer)
            if "?" in issuer or len(issuer) > MAX_ISSUER:
                raise ValueError(f"is no issuer: a URL without a query, of at most {MAX_ISSUER} characters")
        return issuer

    @field_validator("oidc_client_id")
    @classmethod
    def _a_client_id(cls, client_id: str | None) -> str | None:
        if client_id is not None and not re.fullmatch(r"[!-~]{1,255}", client_id):
            raise ValueError(
                "is no client id: 1 to 255 visible ASCII characters without spaces; copy the id that the provider gave "
                "this client"
            )
        return client_id

    @field_validator("oidc_roles")
    @classmethod
    def _pairs(cls, roles: str | None) -> str | None:
        if roles is not None:
            parse_roles(roles)
        return roles

    @field_validator("oidc_claim", "oidc_label")
    @classmethod
    def _legible(cls, text: str) -> str:
        if not text.strip() or not text.isprintable():
            raise ValueError("is blank or has control characters: write a text of one line, or leave it unset")
        return text

    @field_validator("oidc_scopes")
    @classmethod
    def _with_openid(cls, scopes: str) -> str:
        if not scopes.isascii() or not scopes.isprintable():
            raise ValueError("has characters other than printable ASCII: write such as openid profile")
        if "openid" not in scopes.split():
            raise ValueError("lacks the scope openid: write such as openid profile, with spaces between")
        return " ".join(scopes.split())

    @model_validator(mode="after")
    def _a_whole_client(self) -> Self:
        needed = {
            "ROSETTE_OIDC_ISSUER": self.oidc_issuer,
            "ROSETTE_OIDC_CLIENT_ID": self.oidc_client_id,
            "ROSETTE_OIDC_CLIENT_SECRET_FILE": self.oidc_client_secret_file,
            "ROSETTE_OIDC_ROLES": self.oidc_roles,
        }
        missing = [name for name, value in needed.items() if value is None]
        if missing and len(missing) < len(needed):
            raise ValueError(
                f"sign-in at an identity provider also needs {' and '.join(missing)}: set all of {', '.join(needed)}, "
                "or none"
            )
        self.oidc_client()
        return self

    def oidc_client(self) -> OidcClient | None:
        """What this server is to the identity provider; None if people sign in with keys only.

        Raises:
            ValueError: if the secret's file cannot be read, or does not hold a secret.
        """
        if not (self.oidc_issuer and self.oidc_client_id and self.oidc_client_secret_file and self.oidc_roles):
            return None
        return OidcClient(
            self.oidc_issuer,
            self.oidc_client_id,
            _secret(self.oidc_client_secret_file),
            self.oidc_claim,
            parse_roles(self.oidc_roles),
            self.oidc_scopes,
        )


def _secret(file: Path) -> str:
    source = f"ROSETTE_OIDC_CLIENT_SECRET_FILE {file}"
    secret = read_secret_text("ROSETTE_OIDC_CLIENT_SECRET_FILE", file)
    if len(secret) < SECRET_MIN_LENGTH or not secret.isprintable():
        raise ValueError(
            f"{source} has {len(secret)} characters, expected one line with the secret that the provider made for this "
            "client"
        )
    return secret
