"""Files that are answered: written whole at first, so that a slow reader holds nothing of the database."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, Final

from starlette.responses import StreamingResponse

_PART: Final = 1 << 16


class CsvStream(StreamingResponse):
    """A CSV file."""

    media_type = "text/csv"


class ByteStream(StreamingResponse):
    """A file of any kind, as it is."""

    media_type = "application/octet-stream"


class Download:
    """A file without a name, so that it is gone when it is closed, whatever happens."""

    def __init__(self, file: BinaryIO, closing: ExitStack) -> None:
        self.file = file
        self._closing = closing

    def answer(self, name: str) -> CsvStream:
        """What was written, as a CSV file of this name; it is closed when it was sent."""
        plain = "".join(symbol if symbol.isascii() and symbol.isalnum() else "-" for symbol in name)
        return CsvStream(self._opened(), headers=_named(f"{plain}.csv"))

    def as_it_is(self, name: str) -> ByteStream:
        """What was written, as a file of this name; it is closed when it was sent."""
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
        return ByteStream(self._opened(), headers=_named(plain.lstrip(".") or "file"))

    def _opened(self) -> AsyncIterator[bytes]:
        self.file.seek(0)
        self._closing.pop_all()
        return _parts(self.file)


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


@contextmanager
def download() -> Iterator[Download]:
    """A file to write to and then to `answer`; closed at the end of the block if it was not."""
    with ExitStack() as closing:
        yield Download(closing.enter_context(tempfile.TemporaryFile(prefix="counterfoil-")), closing)


async def _parts(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while part := await asyncio.to_thread(file.read, _PART):
            yield part
