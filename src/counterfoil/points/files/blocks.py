"""A file as blocks of whole lines, proven to be text that the database can keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa

from counterfoil.points.files.faults import FileFaultError, Limits

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines, each with a line feed at its end."""

    first_line: int
    """The number of its first line in the file, from 1."""
    lines: pa.Array
    """Strings; binary where `encoding` is not UTF-8."""
    encoding: str
    """`ascii`, `utf-8`, or that of the file where its bytes were asked for."""


def read_blocks(file: BinaryIO, *, encoding: str, as_bytes: bool, limits: Limits) -> Iterator[Block]:
    """The lines of a file, block by block; `FileFaultError` at the first byte that cannot stand there.

    `as_bytes` leaves characters in the file's own encoding, for layouts that count its bytes.
    """
    first_line, rest = 1, file.read(len(_BOM))
    if encoding == "utf-8":
        rest = rest.removeprefix(_BOM)
    while True:
        read = file.read(limits.block_bytes)
        data = rest + read
        whole = data.rfind(b"\n") + 1 if read else len(data)
        data, rest = data[:whole], data[whole:]
        if len(rest) > limits.line_bytes + 1:
            raise _too_long(first_line + data.count(b"\n"), limits)
        if data:
            block = _block(data, first_line, encoding, as_bytes, limits)
            yield block
            first_line += len(block.lines)
        if not read:
            return


def _block(data: bytes, first_line: int, encoding: str, as_bytes: bool, limits: Limits) -> Block:
    text = _ended(data, first_line)
    kept = "ascii"
    if not text.isascii():
        kept = encoding if as_bytes else "utf-8"
        decoded = _decoded(text, first_line, encoding)
        if encoding != "utf-8" and not as_bytes:
            text = decoded.encode()
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    lengths = np.diff(offsets) - 1
    if lengths.max() > limits.line_bytes:
        raise _too_long(first_line + int(np.argmax(lengths > limits.line_bytes)), limits)
    kind = pa.string() if kept in {"ascii", "utf-8"} else pa.binary()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text)]
    lines = pa.Array.from_buffers(kind, len(ends), buffers)
    return Block(first_line, lines, kept)


def _ended(data: bytes, first_line: int) -> bytes:
    """The data with a line feed, and nothing else, at the end of each line; without NUL bytes."""
    if (at := data.find(b"\0")) >= 0:
        line = first_line + data.count(b"\n", 0, at)
        raise FileFaultError(f"Line {line} has a NUL byte.", code="file_nul_byte", line=line)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if (at := data.find(b"\r")) >= 0:
            line = first_line + data.count(b"\n", 0, at)
            detail = f"Line {line} has a carriage return that ends no line."
            raise FileFaultError(detail, code="file_line_ending_wrong", line=line)
    return data if data.endswith(b"\n") else data + b"\n"


def _decoded(text: bytes, first_line: int, encoding: str) -> str:
    try:
        return text.decode(encoding)
    except UnicodeDecodeError as error:
        line = first_line + text.count(b"\n", 0, error.start)
        detail = f"Line {line} has bytes that are not {encoding.upper()}."
        raise FileFaultError(detail, code="file_encoding_wrong", line=line) from error


def _too_long(line: int, limits: Limits) -> FileFaultError:
    detail = f"Line {line} is longer than {limits.line_bytes} bytes."
    return FileFaultError(detail, code="file_line_too_long", line=line)
