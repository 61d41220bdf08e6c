"""The real `gpg`, with a home of its own that is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

MISSING: Final = "needs the gpg command"
needs_gpg: Final = pytest.mark.skipif(shutil.which("gpg") is None, reason=MISSING)

_KINDS: Final = {
    "rsa3072": ("rsa3072", "rsa3072"),
    "rsa1024": ("rsa1024", "rsa1024"),
    "curve25519": ("ed25519", "cv25519"),
    "nistp256": ("nistp256", "nistp256"),
    "dsa2048": ("dsa2048", "elg2048"),
}


class Gpg:
    """A keyring. Keys have no passphrase; each is named by its fingerprint."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def make_key(
        self,
        kind: str = "curve25519",
        *,
        user_id: str = "Partner <partner@example.org>",
        expires: str | None = None,
        subkeys: Sequence[str] = ("encr",),
        usage: str = "sign",
        at: datetime | None = None,
        extra_args: Sequence[str] = (),
    ) -> str:
        """Makes a primary key and its subkeys (`encr`, `sign`), and returns the fingerprint of the primary.

        `expires` is as gpg takes it (`1d`, `20300101T000000`); `at` is the time that gpg believes it to be.
        """
        primary, reader = _KINDS[kind]
        past = _faked(at)
        before = set(self.fingerprints())
        self.run(*past, *extra_args, "--quick-gen-key", user_id, primary, usage, expires or "0")
        (fingerprint,) = set(self.fingerprints()) - before
        for use in subkeys:
            what = reader if use == "encr" else primary
            self.run(*past, *extra_args, "--quick-add-key", fingerprint, what, use, expires or "0")
        return fingerprint

    def fingerprints(self) -> list[str]:
        """The fingerprints of the primary keys."""
        lines = [line.split(":") for line in self.run("--with-colons", "--list-keys").decode().splitlines()]
        pairs = pairwise(lines)
        return [after[9] for line, after in pairs if line[0] == "pub" and after[0] == "fpr"]

    def subkey(self, fingerprint: str, use: str) -> str:
        """The fingerprint of the newest subkey that may `s`ign or `e`ncrypt."""
        listed = self.run("--with-colons", "--list-keys", fingerprint).decode().splitlines()
        lines = [line.split(":") for line in listed]
        pairs = pairwise(lines)
        return [after[9] for line, after in pairs if line[0] == "sub" and use in line[11]][-1]

    def export_public(self, fingerprint: str, *extra_args: str) -> str:
        """The public key, armored."""
        return self.run("--armor", *extra_args, "--export", fingerprint).decode()

    def export_secret(self, fingerprint: str) -> str:
        """The secret key, armored."""
        return self.run("--armor", "--export-secret-keys", fingerprint).decode()

    def import_key(self, armored: str) -> None:
        """Takes a key, public or secret."""
        self.run("--import", content=armored.encode())

    def encrypt_sign(
        self,
        path_in: Path,
        path_out: Path,
        recipient: str,
        extra_args: Sequence[str] = (),
        *,
        signer: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Signs a file with `signer` (gpg's default key without it) and encrypts it to `recipient`."""
        user = ("--local-user", signer) if signer else ()
        self.run(*_faked(at), *user, *extra_args, "--recipient", recipient, "--output", str(path_out),
                 "--sign", "--encrypt", str(path_in))  # fmt: skip

    def decrypt(self, path: Path) -> tuple[bytes, list[str]]:
        """What is in a file, and gpg's status lines, such as `GOODSIG ..`. Raises if gpg is not content."""
        with tempfile.TemporaryDirectory(dir=self.home) as directory:
            status = Path(directory, "status")
            content = self.run("--status-file", str(status), "--decrypt", str(path))
            lines = status.read_text(encoding="utf-8").splitlines()
        return content, [line.removeprefix("[GNUPG:] ") for line in lines]

    def revoke(self, fingerprint: str, subkey: str | None = None) -> None:
        """Revokes a key, or one of its subkeys."""
        if subkey is None:
            # gpg leaves a certificate of revocation beside each new key, with a colon against accidents.
            prepared = (self.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text(encoding="utf-8")
            self.import_key(prepared.replace(":-----BEGIN", "-----BEGIN"))
            return
        listed = self.run("--with-colons", "--list-keys", fingerprint).decode().splitlines()
        subkeys = [line.split(":")[9] for line in listed if line.startswith("fpr")][1:]
        commands = f"key {subkeys.index(subkey) + 1}\nrevkey\ny\n0\n\ny\nsave\n"
        self.run("--command-fd", "0", "--edit-key", fingerprint, content=commands.encode(), batch=False)

    def run(self, *arguments: str, content: bytes = b"", batch: bool = True) -> bytes:
        """Runs gpg and gives back what it writes; raises with what it complains of."""
        command = ["gpg", "--homedir", str(self.home), "--no-options", "--quiet", "--yes", "--no-tty"]
        command += ["--batch"] if batch else []
        command += ["--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always", *arguments]
        done = subprocess.run(
            command, input=content, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
        if done.returncode != 0:
            raise RuntimeError(f"gpg {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout


@contextmanager
def throwaway() -> Iterator[Gpg]:
    """A keyring in a new directory, under a short path: gpg's agent listens on a socket in it."""
    home = Path(tempfile.mkdtemp(prefix="gpg"))
    try:
        yield Gpg(home)
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], capture_output=True, check=False)
        shutil.rmtree(home, ignore_errors=True)


def _faked(at: datetime | None) -> tuple[str, ...]:
    return ("--faked-system-time", f"{at:%Y%m%dT%H%M%S}!") if at else ()
