"""Against guessing codes: how many unknown ones a key may ask for from one address in a minute.

Kept in the memory of each process, for what it protects is the number of guesses, and a code has far more
random bits than a few processes can make up for. What is refused is refused before the code is looked at, so
that a right guess is answered as a wrong one.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from counterfoil.errors import RateLimitedError

WINDOW_SECONDS: Final = 60.0
OF_A_KEY: Final = 20
"""So many times more may all addresses together have of one key: a merchant's server asks for many people."""
_MOST_SUBJECTS: Final = 20_000

Subject = tuple[UUID, str]


class Guesses:
    """Misses of each key, and of each key and address, in the current minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._misses: dict[Subject, int] = {}
        self._began = float("-inf")

    def check(self, key_id: UUID, address: str, *, moment: float) -> None:
        """`RateLimitedError` (`too_many_guesses`) after too many misses; `moment` is a monotonic clock's."""
        if moment - self._began >= WINDOW_SECONDS:
            self._misses.clear()
            self._began = moment
        if (
            self._misses.get((key_id, address), 0) >= self._per_minute
            or self._misses.get((key_id, ""), 0) >= self._per_minute * OF_A_KEY
        ):
            raise RateLimitedError(
                "Too many unknown codes in a minute; wait before asking for another.", code="too_many_guesses"
            )

    def missed(self, key_id: UUID, address: str) -> None:
        """Note that an unknown code was asked for."""
        for subject in ((key_id, address), (key_id, "")):
            if subject in self._misses or len(self._misses) < _MOST_SUBJECTS:
                self._misses[subject] = self._misses.get(subject, 0) + 1
