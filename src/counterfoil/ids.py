"""Ids that we give: a prefix that says what it names, and a UUIDv7 in 26 symbols.

`mer_06d4...` sorts by time of creation, can be double-clicked, and never confuses one kind with another.
Ids that others give (order ids, voucher codes, store ids) stay as they came.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import uuid_utils.compat

from counterfoil.errors import NotFoundError

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {symbol: value for value, symbol in enumerate(_ALPHABET)}
_LENGTH: Final = 26
# Two symbols at a time: redemptions make thousands of ids a second.
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_SHIFTS: Final = range(120, -1, -10)

PREFIXES: Final[dict[str, str]] = {
    "merchant": "mer",
    "api_key": "key",
    "operator": "opr",
    "session": "ses",
    "job": "job",
    "analysis": "ana",
    "reservation": "rsv",
    "redemption": "red",
    "reversal": "rev",
    "transfer": "trf",
    "partner_file": "pfl",
    "webhook_endpoint": "whe",
    "webhook_delivery": "whd",
}
"""What each kind of id begins with."""


def new_id() -> UUID:
    """A new UUIDv7: ordered by time, so that index pages fill in order."""
    return uuid_utils.compat.uuid7()


def format_id(kind: str, value: UUID) -> str:
    """The public form of an id, such as `job_01k9...`."""
    number = value.int
    return f"{PREFIXES[kind]}_{''.join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])}"


def _not_found(kind: str, text: str) -> NotFoundError:
    """The same error as for an id that was never given: malformed or foreign, there is no such thing."""
    return NotFoundError(f"There is no {kind.replace('_', ' ')} {text!r}.", code=f"{kind}_not_found")


def parse_id(kind: str, text: str) -> UUID:
    """The UUID behind a public id; `NotFoundError` for anything that is not one of this kind."""
    prefix, separator, symbols = text.partition("_")
    if prefix != PREFIXES[kind] or not separator or len(symbols) != _LENGTH:
        raise _not_found(kind, text)
    number = 0
    for symbol in symbols:
        value = _VALUES.get(symbol)
        if value is None:
            raise _not_found(kind, text)
        number = number * 32 + value
    if number >> 128:
        raise _not_found(kind, text)
    return UUID(int=number)
