"""What commands about one merchant's campaigns and vouchers share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import UUID

from cyclopts import Parameter

from counterfoil.app import App
from counterfoil.cli.platform import with_platform
from counterfoil.db.transactions import ReadTx, Tx, begin, read
from counterfoil.errors import InvalidError
from counterfoil.merchants import merchants
from counterfoil.merchants.merchants import Merchant

T = TypeVar("T")
MerchantName = Annotated[str, Parameter(name="--merchant", help="Whose they are, by id or reference.")]


def doing(merchant: str, work: Callable[[Tx, Merchant], Awaitable[T]]) -> T:
    """Do some work for a merchant in one transaction."""

    async def run(opened: App) -> T:
        async with begin(opened.engine) as tx:
            return await work(tx, await merchants.get(tx, name=merchant))

    return with_platform(run)


def looking(merchant: str, work: Callable[[ReadTx, UUID], Awaitable[T]]) -> T:
    """Read something of a merchant's, as it is at one moment."""

    async def run(opened: App) -> T:
        async with read(opened.engine) as tx:
            return await work(tx, (await merchants.get(tx, name=merchant)).id)

    return with_platform(run)


def text_of(path: Path) -> str:
    """What stands in a file; `InvalidError` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InvalidError(f"{path}: there is no such file.", code="file_not_found") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"{path}: cannot be read: {error}", code="file_unreadable") from error
