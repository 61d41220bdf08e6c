"""`counterfoil keys` and `counterfoil operators`."""

from __future__ import annotations

import getpass
import secrets
import sys
from datetime import timedelta
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from counterfoil import clock
from counterfoil.access import keys, operators
from counterfoil.access.types import MERCHANT_SCOPES, SCOPES, ApiKey, Scope
from counterfoil.app import App
from counterfoil.cli.platform import Json, say, show, with_platform
from counterfoil.db.transactions import begin, read
from counterfoil.ids import format_id, parse_id
from counterfoil.merchants import merchants

keys_app = cyclopts.App(name="keys", help="API keys, for programs.")
operators_app = cyclopts.App(name="operators", help="People who sign in to the pages.")


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": format_id("api_key", key.id),
        "name": key.name,
        "for": "operator" if key.merchant_id is None else format_id("merchant", key.merchant_id),
        "scopes": " ".join(key.scopes),
        "begins": key.hint,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


@keys_app.command
def create(
    *,
    name: Annotated[str, Parameter(help="What it is for, so that you know it again.")],
    merchant: Annotated[str | None, Parameter(help="Whose it is; without, the operator's.")] = None,
    scope: Annotated[
        list[Scope] | None, Parameter(help="What it may do (repeat it); by default all it can.", negative="")
    ] = None,
    days: Annotated[float | None, Parameter(help="After how many days it expires; by default never.")] = None,
    json: Json = False,
) -> None:
    """Create an API key. Its secret is printed now and never again."""

    async def work(opened: App) -> tuple[ApiKey, str]:
        now = clock.now()
        async with begin(opened.engine) as tx:
            owner = None if merchant is None else (await merchants.get(tx, name=merchant)).id
            return await keys.create(
                tx,
                name=name,
                merchant_id=owner,
                scopes=scope or (SCOPES if owner is None else MERCHANT_SCOPES),
                expires_at=None if days is None else now + timedelta(days=days),
                now=now,
            )

    key, secret = with_platform(work)
    if json:
        show([{**_row(key), "secret": secret}], as_json=True)
    else:
        say(f"{format_id('api_key', key.id)} ({key.name}). Keep the secret; it is not shown again:")
        print(secret)


@keys_app.command
def revoke(key_id: str, /) -> None:
    """Make an API key useless at once."""

    async def work(opened: App) -> ApiKey:
        async with begin(opened.engine) as tx:
            return await keys.revoke(tx, key_id=parse_id("api_key", key_id), now=clock.now())

    say(f"{key_id} ({with_platform(work).name}) is revoked.")


@keys_app.command(name="list")
def list_keys(*, json: Json = False) -> None:
    """List the API keys, without their secrets."""

    async def work(opened: App) -> list[ApiKey]:
        async with read(opened.engine) as tx:
            return await keys.list_all(tx)

    show([_row(key) for key in with_platform(work)], as_json=json, title="API keys")


def _password(generate: bool) -> tuple[str, bool]:
    """A password: generated, asked for on a terminal, or the first line of standard input."""
    if generate:
        return secrets.token_urlsafe(15), True
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n"), False
    return getpass.getpass("Password: "), False


Generate = Annotated[bool, Parameter(negative="", help="Make a password up and print it, instead of asking.")]


@operators_app.command
def add(
    email: str,
    /,
    *,
    name: Annotated[str | None, Parameter(help="As the pages greet them.")] = None,
    generate: Generate = False,
) -> None:
    """Let somebody sign in to the pages."""
    password, generated = _password(generate)
    password_hash = operators.hash_password(password)

    async def work(opened: App) -> None:
        async with begin(opened.engine) as tx:
            await operators.add(
                tx, email=email, name=name or email, password_hash=password_hash, now=clock.now()
            )

    with_platform(work)
    say(f"{email} can sign in.")
    if generated:
        print(password)


@operators_app.command(name="set-password")
def set_password(email: str, /, *, generate: Generate = False) -> None:
    """Give an operator another password; their sessions end."""
    password, generated = _password(generate)
    password_hash = operators.hash_password(password)

    async def work(opened: App) -> None:
        async with begin(opened.engine) as tx:
            await operators.set_password(tx, email=email, password_hash=password_hash)

    with_platform(work)
    say(f"{email} has another password.")
    if generated:
        print(password)
