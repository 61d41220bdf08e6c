"""Who calls a busy route: as `context.acting` finds it, remembered for a second.

A key that is revoked is therefore refused here within a second, and everywhere else at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil import clock
from counterfoil.access import keys
from counterfoil.access.types import Caller, Scope
from counterfoil.db.transactions import read
from counterfoil.errors import InvalidError, NotFoundError, UnauthenticatedError
from counterfoil.merchants import merchants

SECONDS: Final = 1.0
_MOST: Final = 10_000


Name = tuple[str, str | None]
"""A key's secret, and the merchant that the request names."""


@dataclass(frozen=True, slots=True)
class Known:
    """A program, and the merchant that it acts for."""

    caller: Caller
    merchant_id: UUID | None


class Callers:
    """The programs that called within the last second."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._known: dict[Name, tuple[float, Known]] = {}
        self._asked: dict[Name, asyncio.Task[Known]] = {}

    async def find(
        self, authorization: str | None, merchant: str | None, scope: Scope, *, moment: float
    ) -> tuple[Caller, UUID]:
        """The caller and its merchant's id; the errors of `context.acting`. `moment`: a monotonic clock's."""
        if authorization is None or authorization[:7].lower() != "bearer " or not authorization[7:].strip():
            raise UnauthenticatedError(
                "Send an API key: `Authorization: Bearer cfk_...`.", code="api_key_missing"
            )
        name = authorization[7:].strip(), merchant
        found = self._known.get(name)
        if found is None or moment - found[0] > SECONDS:
            found = moment, await self._look_up_once(name)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[name] = found
        known = found[1]
        keys.require(known.caller, scope)
        if known.merchant_id is None:
            raise InvalidError(
                "An operator's key acts for many merchants: name one in the header Counterfoil-Merchant.",
                code="merchant_missing",
            )
        return known.caller, known.merchant_id

    async def _look_up_once(self, name: Name) -> Known:
        """Look a program up, once for all of its requests that wait for it."""
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = asyncio.create_task(self._look_up(*name))
            asked.add_done_callback(lambda _: self._asked.pop(name, None))
        return await asyncio.shield(asked)

    async def _look_up(self, secret: str, merchant: str | None) -> Known:
        async with read(self._engine) as tx:
            caller = await keys.authenticate(tx, secret=secret, now=clock.now())
            named = None if merchant is None else (await merchants.get(tx, name=merchant)).id
        if caller.merchant_id is not None and named not in {None, caller.merchant_id}:
            # Another tenant answers as one that does not exist.
            raise NotFoundError(f"There is no merchant {merchant!r}.", code="merchant_not_found")
        return Known(caller, caller.merchant_id or named)
