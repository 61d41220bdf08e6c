"""OpenPGP as partners' files need it: open what a pinned partner signed for us, seal what we answer.

A message is opened or sealed in a process of its own, with limits: the library works on hostile bytes in
memory, and a bomb or a fault must end that process and not this one. Keys are read here, as they are small.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog
from openpgp.composed import (
    EncryptionCaps,
    KeyType,
    SecretKeyParamsBuilder,
    SignedPublicKey,
    SignedSecretKey,
    SubkeyParamsBuilder,
)
from openpgp.errors import Error as PgpError

from counterfoil.errors import InvalidError
from counterfoil.points.files.openpgp_policy import OpenPgpError, Part, at, choose, read_parts

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
]

MiB: Final = 1024 * 1024

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message may use. A message of 5 million lines of 45 bytes is 215 MiB and takes 2 s.

    `plain_bytes`: the largest content. `seconds`: of processor time, and of waiting.
    """

    plain_bytes: int = 512 * MiB
    seconds: int = 300

    @property
    def memory_bytes(self) -> int:
        """Address space of the process: ciphertext, content and its copies, buffers grown by doubling."""
        return 5 * self.plain_bytes + 128 * MiB

    @property
    def source_bytes(self) -> int:
        """The largest encrypted file: incompressible content in armor is a third larger than itself."""
        return self.plain_bytes * 3 // 2 + MiB


@dataclass(frozen=True, slots=True)
class Opened:
    """What was verified: the signer by the fingerprint of the primary key, upper-case hex."""

    signer: str
    signed_at: datetime
    plain_bytes: int


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key of ours: both halves armored, and the fingerprint in upper-case hex."""

    secret: str
    public: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What is to be known of a key. `can_sign` and `can_encrypt` are true of keys that may be used so now."""

    fingerprint: str
    user_ids: tuple[str, ...]
    algorithm: str
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    can_sign: bool
    can_encrypt: bool
    secret: bool
    flaw: str = ""


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
    request = {
        "act": "open",
        "own_keys": [*own_keys],
        "signers": [*signers],
        "plain_bytes": limits.plain_bytes,
        "file_bytes": limits.plain_bytes,
    }
    answer = await _run(request, source, target, now, limits)
    return Opened(answer["signer"], at(answer["signed_at"]), answer["plain_bytes"])


async def seal_message(
    source: Path, target: Path, *, own_key: str, recipient: str, now: datetime, limits: Limits = Limits()
) -> None:
    """Signs `source` with our secret key and encrypts it to the partner's public key.

    The signature bears the time of the system's clock; `now` decides which keys are valid. Raises
    `OpenPgpError`.
    """
    request = {"act": "seal", "own_key": own_key, "recipient": recipient, "file_bytes": limits.source_bytes}
    await _run(request, source, target, now, limits)


async def _run(
    request: dict[str, Any], source: Path, target: Path, now: datetime, limits: Limits
) -> dict[str, Any]:
    """Has a child do it to a name of its own, which becomes `target` at the very end or is removed."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    request |= _common(source, temporary, now, limits)
    try:
        answer = await _ask(json.dumps(request).encode(), limits.seconds)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return answer


def _common(source: Path, temporary: Path, now: datetime, limits: Limits) -> dict[str, Any]:
    if source.stat().st_size > limits.source_bytes:
        raise OpenPgpError("too_large", f"The file has more than {limits.source_bytes:,} bytes.")
    return {
        "source": str(source.absolute()),
        "target": str(temporary.absolute()),
        "now": now.isoformat(),
        "memory_bytes": limits.memory_bytes,
        "seconds": limits.seconds,
        "parent": os.getpid(),
    }


async def _ask(request: bytes, seconds: int) -> dict[str, Any]:
    command = (sys.executable, "-P", "-s", "-m", "counterfoil.points.files.openpgp_child")
    # The child finds the packages where this process does, and gets nothing else of its environment.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "LC_ALL": "C.UTF-8"}
    child = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    try:
        async with asyncio.timeout(seconds):
            output, complaint = await child.communicate(request)
    except TimeoutError:
        raise OpenPgpError("timed_out", f"The message took more than {seconds} s.") from None
    finally:
        await _end(child)
    if child.returncode != 0:
        raise _death(child.returncode or 0, complaint.decode(errors="replace"))
    answer: dict[str, Any] = json.loads(output)
    if "error" in answer:
        raise OpenPgpError(*answer["error"])
    return dict(answer["ok"])


async def _end(child: Process) -> None:
    if child.returncode is None:
        child.kill()
        await child.wait()


def _death(status: int, complaint: str) -> OpenPgpError:
    """What the end of a child that gave no answer says about its message."""
    if status == -signal.SIGXCPU:
        return OpenPgpError("timed_out", "The message took more processor time than is allowed.")
    if "memory allocation" in complaint or "MemoryError" in complaint or status == -signal.SIGKILL:
        return OpenPgpError("too_large", "The message needs more memory than is allowed.")
    if "File too large" in complaint:
        return OpenPgpError("too_large", "The content is larger than is allowed.")
    _log.error("openpgp_child_failed", status=status, complaint=complaint[-2000:])
    return OpenPgpError("damaged", "The message could not be read: it is damaged, or made to do harm.")


def make_key(user_id: str, *, now: datetime) -> KeyPair:
    """Makes a key of ours: Ed25519 to sign, Curve25519 to decrypt.

    It does not expire (the library cannot write that): it is retired by a new one.
    """
    seconds = int(now.timestamp())
    reader = (
        SubkeyParamsBuilder().version(4).key_type(KeyType.ecdh("curve25519")).created_at(seconds)
        .can_encrypt(EncryptionCaps.all()).build()
    )  # fmt: skip
    key = (
        SecretKeyParamsBuilder().version(4).key_type(KeyType.ed25519_legacy()).created_at(seconds)
        .can_certify(True).can_sign(True).primary_user_id(user_id)
        .preferred_symmetric_algorithms(["aes256", "aes128"])
        .preferred_hash_algorithms(["sha512", "sha256"])
        .preferred_compression_algorithms(["zlib", "zip"])
        .feature_seipd_v1(True).subkey(reader).generate()
    )  # fmt: skip
    return KeyPair(key.to_armored(), key.to_public_key().to_armored(), key.fingerprint.upper())


def read_key(armored: str, *, now: datetime) -> KeyFacts:
    """The facts of one armored key, public or secret. Raises `InvalidError` (`key_unreadable`)."""
    secret = "-----BEGIN PGP PRIVATE KEY BLOCK" in armored
    try:
        keys: Sequence[SignedPublicKey | SignedSecretKey]
        keys = (SignedSecretKey if secret else SignedPublicKey).from_armor_many(armored)[0]
        # One block may hold several keys, and a file several blocks.
        if len(keys) != 1 or armored.count("-----BEGIN PGP") != 1:
            raise _unreadable("There are several.")
        key = keys[0]
        certificate = key if isinstance(key, SignedPublicKey) else key.to_public_key()
        parts = read_parts(certificate, now=now)
    except PgpError as error:
        raise _unreadable(f"{error}.") from error
    if isinstance(key, SignedSecretKey) and _locked(key):
        raise _unreadable("The secret key is locked with a passphrase; take the passphrase off it first.")
    return _facts(certificate, parts, now, secret=secret)


def check_key(facts: KeyFacts, *, now: datetime) -> None:
    """Refuses a key that cannot be used: revoked, expired, weak, or without a part that signs or encrypts."""
    if facts.revoked:
        detail = f"Key {facts.fingerprint} has been revoked. Give the key that replaces it."
        raise InvalidError(detail, code="key_revoked")
    if facts.expires_at is not None and facts.expires_at <= now:
        ended = f"{facts.expires_at:%Y-%m-%d %H:%M} UTC"
        detail = f"Key {facts.fingerprint} expired at {ended}. Extend it, and export it again."
        raise InvalidError(detail, code="key_expired")
    if not facts.can_sign or not facts.can_encrypt:
        raise InvalidError(f"Key {facts.fingerprint} cannot be used. {facts.flaw}", code="key_weak")


def _facts(certificate: SignedPublicKey, parts: list[Part], now: datetime, *, secret: bool) -> KeyFacts:
    flaws = []
    for purpose in ("sign", "encrypt"):
        try:
            choose(parts, now=now, to=purpose)
            flaws.append("")
        except OpenPgpError as error:
            flaws.append(error.detail)
    params = certificate.public_params
    name = params.curve or params.kind
    return KeyFacts(
        fingerprint=parts[0].fingerprint,
        user_ids=tuple(certificate.user_ids),
        algorithm=f"rsa{params.rsa_bits}" if params.rsa_bits else name,
        created_at=parts[0].created_at,
        expires_at=parts[0].expires_at,
        revoked=parts[0].revoked,
        can_sign=not flaws[0],
        can_encrypt=not flaws[1],
        secret=secret,
        flaw=" ".join(dict.fromkeys(flaw for flaw in flaws if flaw)),
    )


def _locked(key: SignedSecretKey) -> bool:
    return any(s2k.usage != "unprotected" for s2k in (key.primary_secret_s2k(), *key.secret_subkey_s2ks()))


def _unreadable(why: str) -> InvalidError:
    advice = "Give what `gpg --armor --export-options export-minimal --export FINGERPRINT` writes."
    return InvalidError(f"This is no single OpenPGP key. {why} {advice}", code="key_unreadable")
