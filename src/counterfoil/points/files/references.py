"""The public ids of transfers, for a whole column at a time: a response has millions of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from counterfoil.ids import PREFIXES, format_id

_PREFIX: Final = f"{PREFIXES['transfer']}_".encode()
_LENGTH: Final = len(_PREFIX) + 26
_SHIFTS: Final = range(120, -1, -10)
_PAIRS: Final = np.array(
    [list(format_id("transfer", UUID(int=value))[-2:].encode()) for value in range(1024)], dtype=np.uint8
)

Numbers = npt.NDArray[Any]


def halves(ids: Sequence[UUID]) -> tuple[Numbers, Numbers]:
    """The upper and the lower 64 bits of ids."""
    number = np.frombuffer(b"".join(each.bytes for each in ids), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return number[:, 0], number[:, 1]


def public_ids(upper: Numbers, lower: Numbers) -> pa.Array:
    """What `format_id` gives for transfers, from the halves of their ids."""
    return _strings(characters(upper, lower))


def counted_ids(first: Numbers, lower: Numbers) -> pa.Array:
    """The same of ids that count on from others, within their last 16 bits: all but four characters are those
    of `first`, a row for each; `lower` are their own lower halves.
    """
    text = first.copy()
    text[:, -4:-2] = _PAIRS[((lower >> np.uint64(10)) & np.uint64(1023)).astype(np.intp)]
    text[:, -2:] = _PAIRS[(lower & np.uint64(1023)).astype(np.intp)]
    return _strings(text)


def characters(upper: Numbers, lower: Numbers) -> Numbers:
    """The ids as bytes, a row for each."""
    text = np.empty((len(upper), _LENGTH), dtype=np.uint8)
    text[:, : len(_PREFIX)] = np.frombuffer(_PREFIX, dtype=np.uint8)
    for place, shift in enumerate(_SHIFTS):
        if shift >= 64:
            bits = upper >> np.uint64(shift - 64)
        elif shift + 10 <= 64:
            bits = lower >> np.uint64(shift)
        else:
            bits = (upper << np.uint64(64 - shift)) | (lower >> np.uint64(shift))
        start = len(_PREFIX) + 2 * place
        text[:, start : start + 2] = _PAIRS[(bits & np.uint64(1023)).astype(np.intp)]
    return text


def _strings(text: Numbers) -> pa.Array:
    offsets = np.arange(0, text.size + 1, _LENGTH, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.string(), len(text), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.tobytes())]
    )
