"""Against guessing codes: how many unknown ones a key may ask for from one address in a minute.

Kept in the memory of each process, for what it protects is the number of guesses, and a code has far more
random bits than a few processes can make up for. What is refused is refused before the code is looked at, so
that a right guess is answered as a wrong one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Header, Request

from counterfoil.access.types import Scope
from counterfoil.api.context import Acting, Platform, acting
from counterfoil.errors import NotFoundError, RateLimitedError

WINDOW_SECONDS: Final = 60.0
OF_A_KEY: Final = 20
"""So many times more may all addresses together have of one key: a merchant's server asks for many people."""
_MOST_SUBJECTS: Final = 20_000

Subject = tuple[UUID, str]


class Guesses:
    """Misses of each key, and of each key and address, in the current minute."""

    def __init__(self) -> None:
        self._misses: dict[Subject, int] = {}
        self._began = float("-inf")

    def check(self, key_id: UUID, address: str, *, per_minute: int, moment: float) -> None:
        """`RateLimitedError` (`too_many_guesses`) after too many misses; `moment` is a monotonic clock's."""
        if moment - self._began >= WINDOW_SECONDS:
            self._misses.clear()
            self._began = moment
        if (
            self._misses.get((key_id, address), 0) >= per_minute
            or self._misses.get((key_id, ""), 0) >= per_minute * OF_A_KEY
        ):
            raise RateLimitedError(
                "Too many unknown codes in a minute; wait before asking for another.", code="too_many_guesses"
            )

    def missed(self, key_id: UUID, address: str) -> None:
        """Note that an unknown code was asked for."""
        for subject in ((key_id, address), (key_id, "")):
            if subject in self._misses or len(self._misses) < _MOST_SUBJECTS:
                self._misses[subject] = self._misses.get(subject, 0) + 1


def acting_on_code(scope: Scope) -> Callable[..., AsyncIterator[Acting]]:
    """As `context.acting`, for a route that anybody could ask for codes they made up."""
    known = Depends(acting(scope))

    async def dependency(
        request: Request,
        app: Platform,
        act: Acting = known,
        counterfoil_client_address: Annotated[
            str | None, Header(description="For whom a merchant's server asks.", max_length=64)
        ] = None,
    ) -> AsyncIterator[Acting]:
        guesses: Guesses = request.app.state.guesses
        peer = request.client.host if request.client is not None else ""
        subject = act.caller.key_id, counterfoil_client_address or peer
        guesses.check(*subject, per_minute=app.settings.guesses_per_minute, moment=time.monotonic())
        try:
            yield act
        except NotFoundError:
            guesses.missed(*subject)
            raise

    return dependency
