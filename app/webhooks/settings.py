"""The settings of webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from app.secret_files import read_secret
from app.webhooks.target import Target

KEY_MIN_LENGTH = 32


class WebhookSettings(BaseSettings):
    """Where events are sent, and the key that signs them; both or none.

    Attributes:
        webhook_url: https, or http to this machine. It may hold a secret of the receiver's.
        webhook_key_file: a file with the key, at least 32 characters.
    """

    webhook_url: SecretStr | None = None
    webhook_key_file: Path | None = None

    @field_validator("webhook_url")
    @classmethod
    def _an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            Target.parse(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Self:
        if (self.webhook_url is None) != (self.webhook_key_file is None):
            raise ValueError("ROSETTE_WEBHOOK_URL and ROSETTE_WEBHOOK_KEY_FILE must be set together: set both or none")
        self.webhook_target()
        return self

    def webhook_target(self) -> tuple[Target, bytes] | None:
        """Where webhooks go and the key that signs them, if they are sent.

        Raises:
            ValueError: if the key's file cannot be read, or the key is too short.
        """
        if self.webhook_url is None or self.webhook_key_file is None:
            return None
        key = read_secret("ROSETTE_WEBHOOK_KEY_FILE", self.webhook_key_file)
        if len(key) < KEY_MIN_LENGTH:
            raise ValueError(
                f"ROSETTE_WEBHOOK_KEY_FILE {self.webhook_key_file} has {len(key)} characters, expected at least "
                f"{KEY_MIN_LENGTH}: make one with `openssl rand -hex 32`"
            )
        return Target.parse(self.webhook_url.get_secret_value()), key
