"""All settings, read once from the environment in `main` and passed on."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from counterfoil.errors import FieldError, InvalidError


def default_home() -> Path:
    """Where data stand when nothing else is said: `$XDG_DATA_HOME/counterfoil`."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "counterfoil"


class Settings(BaseSettings):
    """What can be set, each by an environment variable `COUNTERFOIL_<NAME>` (see docs/settings.md)."""

    model_config = SettingsConfigDict(
        env_prefix="COUNTERFOIL_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(
        default_factory=default_home, description="Directory of the embedded database and files."
    )
    database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("DATABASE_URL", "COUNTERFOIL_DATABASE_URL"),
        description="A PostgreSQL 15 or newer; unset: the embedded server under the home directory.",
    )
    host: str = Field(default="127.0.0.1", description="The address that `serve` listens on.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="The port that `serve` listens on."
    )
    dropbox_host: str = Field(
        default="127.0.0.1", description="The address that the drop box for partners' files listens on."
    )
    dropbox_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        default=None, description="The port of the drop box, by SFTP; unset: there is no drop box."
    )
    pool_size: Annotated[int, Field(ge=2, le=200)] = Field(
        default=10, description="Connections to the database, for each process."
    )
    statement_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        default=60, description="A statement of a request is given up after this time."
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=32 * 1024 * 1024, description="The largest request body; a larger one is answered 413."
    )
    queue_limit: Annotated[int, Field(ge=1)] = Field(
        default=2000,
        description="Requests to the verbs of vouchers that may wait in a process; one more is answered 503.",
    )
    guesses_per_minute: Annotated[int, Field(ge=1)] = Field(
        default=60,
        description="Unknown voucher codes that a key may ask for from one address; then it is answered 429.",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="`text` for people, `json` for machines; `auto`: text on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged: this level and above."
    )
    secure_cookies: bool = Field(
        default=False, description="Set it where the pages are served by HTTPS: session cookies then need it."
    )
    session_hours: Annotated[int, Field(ge=1, le=24 * 30)] = Field(
        default=12, description="An operator signs in again after this many hours."
    )
    webhook_allow: str | None = Field(
        default=None,
        description="Where webhooks, partners' servers and outside loyalty systems may be besides the public "
        "internet: networks and host names, with commas between, such as `127.0.0.0/8, erp.local`.",
    )

    @field_validator("webhook_allow")
    @classmethod
    def _names_networks_and_hosts(cls, value: str | None) -> str | None:
        for entry in (part.strip() for part in (value or "").split(",")):
            if re.fullmatch(r"[0-9.:/]+|.*[:/].*", entry):
                ip_network(entry, strict=False)
            elif not re.fullmatch(r"[A-Za-z0-9._-]*", entry):
                raise ValueError(f"{entry!r} is neither a network nor a host name")
        return value


def _variable(name: str) -> str:
    """The environment variable of a setting, which is what somebody can mend."""
    return f"COUNTERFOIL_{name.upper()}" if name in Settings.model_fields else name


def load_settings() -> Settings:
    """The settings of this process; `InvalidError` names each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        problems = tuple(
            FieldError(f"/{_variable(str(e['loc'][0]))}", e["type"], e["msg"]) for e in error.errors()
        )
        text = "; ".join(f"{p.pointer[1:]}: {p.detail}" for p in problems)
        raise InvalidError(f"A setting is wrong: {text}", code="settings_invalid", errors=problems) from error
