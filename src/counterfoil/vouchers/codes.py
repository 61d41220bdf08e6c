"""Voucher codes: how they look, how they are drawn, and how a mistyped one is found out.

The last symbol is a check symbol by ISO 7064, hybrid system MOD M+1,M over the campaign's own alphabet of M
symbols: it finds every single wrong symbol, and of the swaps of two neighbours all but one in 496 (M = 32),
where Luhn misses whole classes of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import cached_property, lru_cache
from math import log2
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SYMBOLS: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""32 symbols, without 0, 1, I and O, which people mistake for each other."""
LONGEST_CODE: Final = 64
PLACE: Final = "#"
_LEAST_BITS: Final = 30
"""Less can be guessed, however few there are. `pool.check_density` looks at how many there are."""


class CodeFormat(BaseModel):
    """How a campaign's codes look."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    charset: Annotated[str, Field(min_length=2, max_length=64, description="Symbols to draw from.")] = SYMBOLS
    length: Annotated[
        int, Field(ge=1, le=LONGEST_CODE, description="Symbols drawn, with the check symbol.")
    ] = 12
    prefix: Annotated[str, Field(max_length=20)] = ""
    pattern: Annotated[
        str | None,
        Field(
            max_length=LONGEST_CODE,
            description="Instead of prefix and length: each `#` is drawn, as in SUN-####-####-####.",
        ),
    ] = None
    check_symbol: Annotated[bool, Field(description="Whether the last symbol checks the others.")] = True

    @field_validator("charset")
    @classmethod
    def _different(cls, value: str) -> str:
        if len(set(value)) < len(value):
            raise ValueError("a symbol stands in it twice")
        if not all("!" <= symbol <= "~" and symbol != PLACE for symbol in value):
            raise ValueError("printable ASCII without spaces and '#'")
        return value

    @field_validator("prefix")
    @classmethod
    def _no_place(cls, value: str) -> str:
        if PLACE in value:
            raise ValueError("without '#': only a pattern has places for drawn symbols")
        return value

    @field_validator("prefix", "pattern")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not all("!" <= symbol <= "~" for symbol in value):
            raise ValueError("printable ASCII without spaces")
        return value

    @model_validator(mode="after")
    def _enough(self) -> CodeFormat:
        if len(self.shape) > LONGEST_CODE:
            raise ValueError(f"a code has at most {LONGEST_CODE} characters")
        if self.bits < _LEAST_BITS:
            raise ValueError(
                f"such codes could be guessed: {self.bits:.0f} random bits, at least {_LEAST_BITS} are needed"
            )
        return self

    @cached_property
    def shape(self) -> str:
        """A code with `#` for each drawn symbol."""
        return self.pattern if self.pattern is not None else self.prefix + PLACE * self.length

    @cached_property
    def drawn(self) -> int:
        """Symbols drawn at random: all but the check symbol."""
        return self.shape.count(PLACE) - self.check_symbol

    @property
    def bits(self) -> float:
        """Random bits in a code."""
        return self.drawn * log2(len(self.charset))


def check_symbol(symbols: str, charset: str) -> str:
    """The symbol that makes `symbols` whole: ISO 7064, hybrid system MOD M+1,M, M = len(charset)."""
    values, m = _values(charset), len(charset)
    p = m
    for symbol in symbols:
        p = (p + values[symbol]) % m or m
        p = p * 2 % (m + 1)
    return charset[(1 - p) % m]


@lru_cache(maxsize=256)
def _values(charset: str) -> dict[str, int]:
    return {symbol: value for value, symbol in enumerate(charset)}


@lru_cache(maxsize=256)
def _steps(charset: str) -> tuple[tuple[int, ...], ...]:
    """`steps[p][value]`: the running product of the check after one more symbol."""
    m = len(charset)
    return tuple(tuple(((p + v) % m or m) * 2 % (m + 1) for v in range(m)) for p in range(m + 1))


def generate(form: CodeFormat, count: int) -> Iterator[str]:
    """`count` codes from the system's source of randomness. Two may be the same: the table decides."""
    charset, m, drawn = form.charset, len(form.charset), form.drawn
    steps = _steps(charset) if form.check_symbol else None
    shape = form.shape.replace("%", "%%").replace(PLACE, "%s")
    plain = form.pattern is None
    for values in _random_values(m, drawn, count):
        symbols = "".join([charset[v] for v in values])
        if steps is not None:
            p = m
            for v in values:
                p = steps[p][v]
            symbols += charset[(1 - p) % m]
        yield form.prefix + symbols if plain else shape % tuple(symbols)


def _random_values(m: int, drawn: int, count: int) -> Iterator[bytes]:
    """Rows of `drawn` numbers below `m`, each equally likely: bytes above the last multiple are left out."""
    most = 256 // m * m
    allowed = bytes(v % m for v in range(256))
    refused = bytes(range(most, 256))
    for start in range(0, count, 10_000):
        rows = min(10_000, count - start)
        pool = b""
        while len(pool) < rows * drawn:
            missing = rows * drawn - len(pool)
            pool += secrets.token_bytes(missing * 256 // most + 16).translate(allowed, refused)
        for row in range(rows):
            yield pool[row * drawn : (row + 1) * drawn]


def is_whole(code: str, form: CodeFormat) -> bool:
    """Whether a code has the shape of this format and its check symbol is right."""
    if len(code) != len(form.shape):
        return False
    symbols = []
    for have, want in zip(code, form.shape, strict=True):
        if want != PLACE:
            if have != want:
                return False
        elif have not in _values(form.charset):
            return False
        else:
            symbols.append(have)
    if not form.check_symbol:
        return True
    return check_symbol("".join(symbols[:-1]), form.charset) == symbols[-1]


def problem_of(code: str) -> str | None:
    """Why a code that somebody brings cannot be one; None if it can."""
    if not code:
        return "empty"
    if len(code) > LONGEST_CODE:
        return "too_long"
    if not all("!" <= symbol <= "~" for symbol in code):
        return "not_printable"
    return None
