"""OpenPGP as partners' files need it: open what a pinned partner signed for us, seal what we answer.

A message is opened or sealed in a process of its own, with limits: the library works on hostile bytes in
memory, and a bomb or a fault must end that process and not this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from counterfoil.points.files.openpgp_keys import KeyFacts, KeyPair, check_key, make_key, read_key
from counterfoil.points.files.openpgp_policy import OpenPgpError, at

__all__ = [
    "KeyFacts",
    "KeyPair",
    "Limits",
    "OpenPgpError",
    "Opened",
    "check_key",
    "make_key",
    "open_message",
    "read_key",
    "seal_message",
    "seal_written",
]

MiB: Final = 1024 * 1024
_FAULTS: Final = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message may use: `plain_bytes` of content, `seconds` of processor time and of waiting.

    At its worst a message holds three times its content in memory: 5 million lines of 45 bytes take 700 MB.
    """

    plain_bytes: int = 500_000_000
    seconds: int = 300

    def memory_bytes(self, source_bytes: int) -> int:
        """Address space of the child: the ciphertext, and two buffers that grew by doubling."""
        return source_bytes + 4 * self.plain_bytes + 128 * MiB

    @property
    def source_bytes(self) -> int:
        """The largest encrypted file: content that does not compress, in armor, is a third larger."""
        return self.plain_bytes * 3 // 2 + MiB


@dataclass(frozen=True, slots=True)
class Opened:
    """What was verified: the signer by the fingerprint of the primary key, upper-case hex."""

    signer: str
    signed_at: datetime
    plain_bytes: int


async def open_message(
    source: Path,
    target: Path,
    *,
    own_keys: Sequence[str],
    signers: Sequence[str],
    now: datetime,
    limits: Limits = Limits(),
) -> Opened:
    """Decrypts `source`, verifies it against the pinned `signers`, and writes the content to `target`.

    `own_keys` are our armored secret keys, `signers` the partner's armored public keys. Nothing stands at
    `target` unless everything held. Raises `OpenPgpError`.
    """
    size = (await asyncio.to_thread(source.stat)).st_size
    if size > limits.source_bytes:
        raise OpenPgpError("too_large", f"The file has more than {limits.source_bytes:,} bytes.")
    request = {
        "act": "open",
        "source": str(source),
        "own_keys": [*own_keys],
        "signers": [*signers],
        "plain_bytes": limits.plain_bytes,
        "file_bytes": limits.plain_bytes,
    }
    answer = await _run(request | _limited(size, limits), target, now, limits)
    return Opened(answer["signer"], at(answer["signed_at"]), answer["plain_bytes"])


async def seal_message(
    source: Path, target: Path, *, own_key: str, recipient: str, now: datetime, limits: Limits = Limits()
) -> None:
    """Signs `source` with our secret key and encrypts it to the partner's public key.

    The signature bears the time of the system's clock; `now` decides which keys are valid. Raises
    `OpenPgpError`.
    """

    def write(file: BinaryIO) -> None:
        with source.open("rb") as content:
            shutil.copyfileobj(content, file, MiB)

    await seal_written(write, target, own_key=own_key, recipient=recipient, now=now, limits=limits)


async def seal_written(
    write: Callable[[BinaryIO], None],
    target: Path,
    *,
    own_key: str,
    recipient: str,
    now: datetime,
    limits: Limits = Limits(),
) -> None:
    """Signs and encrypts what `write`, in a thread of its own, writes into a file, while it is being written.

    What `write` raises is raised, and nothing was signed. Otherwise as `seal_message`.
    """
    request = {"act": "seal", "own_key": own_key, "recipient": recipient, "file_bytes": limits.source_bytes}
    await _run(request | _limited(0, limits), target, now, limits, write)


async def _run(
    request: dict[str, Any],
    target: Path,
    now: datetime,
    limits: Limits,
    write: Callable[[BinaryIO], None] = lambda _: None,
) -> dict[str, Any]:
    """Has a child do it to a name of its own, which becomes `target` at the very end or is removed."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    request |= {"target": str(temporary), "now": now.isoformat(), "parent": os.getpid()}
    try:
        answer = await _ask(json.dumps(request).encode() + b"\n", write, limits.seconds)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return answer


def _limited(source_bytes: int, limits: Limits) -> dict[str, Any]:
    return {"memory_bytes": limits.memory_bytes(source_bytes), "seconds": limits.seconds}


async def _ask(request: bytes, write: Callable[[BinaryIO], None], seconds: int) -> dict[str, Any]:
    command = (sys.executable, "-P", "-s", "-m", "counterfoil.points.files.openpgp_child")
    # The child finds the packages where this process does, and gets nothing else of its environment.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LC_ALL": "C.UTF-8"}
    theirs, ours = os.pipe()
    file, thread = os.fdopen(ours, "wb", MiB), ThreadPoolExecutor(1)
    try:
        try:
            child = await asyncio.create_subprocess_exec(
                *command, stdin=theirs, stdout=PIPE, stderr=PIPE, env=environment, start_new_session=True
            )
        finally:
            os.close(theirs)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().run_in_executor(thread, _feed, file, request, write)
                with suppress(BrokenPipeError):
                    file.close()
                output, complaint = await child.communicate()
        except TimeoutError:
            raise OpenPgpError("timed_out", f"The message took more than {seconds} s.") from None
        finally:
            # Before its input is closed: what was not written to the end must not be signed.
            await _end(child)
    finally:
        thread.shutdown(wait=False)
        with suppress(BrokenPipeError):
            file.close()
    if child.returncode != 0:
        raise _death(child.returncode or 0, complaint.decode(errors="replace"))
    answer: dict[str, Any] = json.loads(output)
    if "error" in answer:
        raise OpenPgpError(*answer["error"])
    return dict(answer["ok"])


def _feed(file: BinaryIO, request: bytes, write: Callable[[BinaryIO], None]) -> None:
    try:
        file.write(request)
        write(file)
        file.flush()
    except BrokenPipeError:
        pass  # The child has ended, and has said why.


async def _end(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.wait()


def _death(status: int, complaint: str) -> Exception:
    """What the end of a child that gave no answer says: of its message, or of trouble of our own."""
    if status == -signal.SIGXCPU:
        return OpenPgpError("timed_out", "The message took more processor time than is allowed.")
    if status == -signal.SIGKILL or "memory allocation" in complaint:
        return OpenPgpError("too_large", "The message needs more memory than is allowed.")
    if -status in _FAULTS:
        return OpenPgpError("damaged", "The message is damaged, or made to do harm.")
    return RuntimeError(f"The process for OpenPGP ended with {status}: {complaint[-2000:]}")
