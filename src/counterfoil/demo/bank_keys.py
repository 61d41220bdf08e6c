"""A bank's OpenPGP key, made for this run: in a keyring of `gpg` where that is installed, else by us."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from counterfoil import clock
from counterfoil.errors import ConflictError
from counterfoil.points.files import openpgp
from counterfoil.points.files.keys import OwnKey
from counterfoil.points.files.openpgp import KeyPair

USER_ID = "City Bank (demo) <files@bank.example>"


class Keyring(Protocol):
    """The bank's key, and what its program does with it."""

    @property
    def program(self) -> str:
        """What signs, encrypts and decrypts at the bank."""

    @property
    def public(self) -> str:
        """The bank's public key."""

    async def seal(self, source: Path, target: Path) -> None:
        """Sign a file and encrypt it to the grocer."""

    async def open(self, source: Path, target: Path) -> None:
        """Decrypt what the grocer sent; `ConflictError` where its signature is not the grocer's."""


@dataclass(frozen=True, slots=True)
class _Gpg:
    """A keyring of GnuPG in a directory of its own."""

    program: str
    home: Path
    public: str
    grocer: str
    """The fingerprint of the grocer's key."""

    async def seal(self, source: Path, target: Path) -> None:
        await _gpg(
            self.home, "--recipient", self.grocer, "--output", str(target), "--sign", "--encrypt", str(source)
        )

    async def open(self, source: Path, target: Path) -> None:
        try:
            said = await _gpg(
                self.home, "--status-fd", "1", "--output", str(target), "--decrypt", str(source)
            )
            signers = [line.split()[-1] for line in said.splitlines() if "[GNUPG:] VALIDSIG " in line]
            if signers != [self.grocer]:
                raise ConflictError("The response is not signed by the grocer.", code="demo_failed")
        except ConflictError:
            target.unlink(missing_ok=True)  # noqa: ASYNC240 - gpg writes before it verifies
            raise


@dataclass(frozen=True, slots=True)
class _Own:
    """A key of our own making, for want of `gpg`."""

    program: str
    pair: KeyPair
    grocer: str
    """The grocer's public key."""

    @property
    def public(self) -> str:
        return self.pair.public

    async def seal(self, source: Path, target: Path) -> None:
        await openpgp.seal_message(
            source, target, own_key=self.pair.secret, recipient=self.grocer, now=clock.now()
        )

    async def open(self, source: Path, target: Path) -> None:
        await openpgp.open_message(
            source, target, own_keys=[self.pair.secret], signers=[self.grocer], now=clock.now()
        )


@asynccontextmanager
async def bank_keyring(grocer: OwnKey, *, with_gpg: bool | None = None) -> AsyncIterator[Keyring]:
    """The bank's keyring, which knows the grocer's public key and is gone with the block.

    `with_gpg`: None uses the `gpg` command where it is installed.
    """
    if with_gpg is False or shutil.which("gpg") is None:
        pair = await asyncio.to_thread(openpgp.make_key, USER_ID, now=clock.now())
        yield _Own("Counterfoil's own OpenPGP (no gpg here)", pair, grocer.public_key)
        return
    # A short path: gpg's agent listens on a socket in it.
    home = Path(tempfile.mkdtemp(prefix="gpg"))
    try:
        version = (await _gpg(home, "--version")).splitlines()[0]
        await _gpg(home, "--import", content=grocer.public_key)
        await _gpg(home, "--quick-gen-key", USER_ID, "ed25519", "sign", "1y")
        listed = await _gpg(home, "--with-colons", "--list-secret-keys")
        fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))
        await _gpg(home, "--quick-add-key", fingerprint, "cv25519", "encr", "1y")
        public = await _gpg(home, "--armor", "--export", fingerprint)
        yield _Gpg(version, home, public, grocer.fingerprint)
    finally:
        await _run("gpgconf", "--homedir", str(home), "--kill", "all")
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


async def _gpg(home: Path, *arguments: str, content: str = "") -> str:
    """What gpg writes; `ConflictError` with what it complains of."""
    command = ["gpg", "--homedir", str(home), "--no-options", "--batch", "--quiet", "--yes", "--no-tty"]
    command += ["--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always", *arguments]
    status, said, complaint = await _run(*command, content=content)
    if status != 0:
        raise ConflictError(f"gpg failed: {complaint.strip()}", code="demo_failed")
    return said


async def _run(*command: str, content: str = "") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**os.environ, "LC_ALL": "C"}
    )
    said, complaint = await process.communicate(content.encode())
    return process.returncode or 0, said.decode(), complaint.decode(errors="replace")
