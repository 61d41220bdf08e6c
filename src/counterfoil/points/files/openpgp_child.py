"""The process that touches hostile bytes: one message is opened or sealed, then it ends.

It reads one JSON request from standard input (so that no secret stands in arguments or the environment), a
line, and after it the content if it is to be sealed. It limits itself, and writes one JSON answer:
`{"ok": {..}}` or `{"error": [code, detail]}`. Native code that aborts takes only this process with it. Any
other end is our own trouble, not the message's.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from openpgp.composed import (
    DecryptedMessage,
    Message,
    MessageBuilder,
    SignedPublicKey,
    SignedSecretKey,
    SignedSecretSubKey,
)
from openpgp.errors import Error as PgpError
from openpgp.packet import Signature

from counterfoil.points.files.openpgp_policy import (
    CLOCK_SKEW,
    STRONG_HASHES,
    OpenPgpError,
    Part,
    at,
    choose,
    read_parts,
    signing_part,
)

_PR_SET_PDEATHSIG: Final = 1
_ENCRYPTED_TAGS: Final = frozenset({1, 3, 9, 10, 18, 20})
"""Packets with which an encrypted message may begin: session keys, encrypted data, a marker."""
_TOO_LARGE: Final = {"error": ["too_large", "The message needs more memory than is allowed."]}
_DAMAGED: Final = {"error": ["damaged", "The message is damaged, or made to do harm."]}


def main() -> None:
    """Answers one request."""
    request = json.loads(sys.stdin.buffer.readline())
    _limit(request)
    try:
        sealing = request["act"] == "seal"
        answer: dict[str, Any] = {
            "ok": seal_message(request, sys.stdin.buffer) if sealing else open_message(request)
        }
    except OpenPgpError as error:
        answer = {"error": [error.code, error.detail]}
    except MemoryError:
        answer = _TOO_LARGE
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of native code; its class cannot be imported
            raise
        # So it panics where Python has no memory left for the bytes that it wants to hand over.
        answer = _TOO_LARGE if "pointer is null" in str(error) else _DAMAGED
    json.dump(answer, sys.stdout)


def _limit(request: dict[str, Any]) -> None:
    """Holds this process to its limits, and ends it with its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != request["parent"]:
        sys.exit(1)
    os.umask(0o077)
    seconds = request["seconds"]
    for what, soft, hard in (
        (resource.RLIMIT_AS, request["memory_bytes"], request["memory_bytes"]),
        (resource.RLIMIT_FSIZE, request["file_bytes"], request["file_bytes"]),
        (resource.RLIMIT_CPU, seconds, seconds + 1),  # the first ends it by a signal that tells why
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, 32, 32),
    ):
        ceiling = resource.getrlimit(what)[1]
        if ceiling == resource.RLIM_INFINITY:
            ceiling = hard
        resource.setrlimit(what, (min(soft, ceiling), min(hard, ceiling)))


def open_message(request: dict[str, Any]) -> dict[str, Any]:
    """Decrypts and verifies; the plaintext is written only after everything held."""
    now = datetime.fromisoformat(request["now"])
    message = _parse(Path(request["source"]))
    if message.kind != "encrypted":
        raise OpenPgpError("not_encrypted", "The message is not encrypted. Encrypt it to our key.")
    opened = _decrypt(message, [SignedSecretKey.from_armor(key)[0] for key in request["own_keys"]])
    del message  # the ciphertext: memory is counted in copies here
    signer, signature = _verify(opened, request["signers"], now)
    plain = opened.as_data_vec()
    if len(plain) > request["plain_bytes"]:
        raise OpenPgpError("too_large", f"The content has more than {request['plain_bytes']:,} bytes.")
    with Path(request["target"]).open("xb") as file:
        file.write(plain)
    return {"signer": signer, "signed_at": signature.created(), "plain_bytes": len(plain)}


def _parse(source: Path) -> Message:
    with source.open("rb") as file:
        head = file.read(64)
    armored = head.lstrip().startswith(b"-----BEGIN PGP MESSAGE")
    try:
        return Message.from_armor_file(source)[0] if armored else Message.from_file(source)
    except (PgpError, UnicodeDecodeError) as error:
        if armored or (head and _tag(head[0]) in _ENCRYPTED_TAGS):
            raise OpenPgpError("damaged", f"The message is damaged or cut short: {error}.") from error
        raise OpenPgpError("not_openpgp", "This is not an OpenPGP message.") from error


def _tag(first: int) -> int:
    """The kind of packet that begins with this byte, in the new or the old form; -1 for none."""
    if not first & 0x80:
        return -1
    return first & 0x3F if first & 0x40 else (first >> 2) & 0x0F


def _decrypt(message: Message, keys: list[SignedSecretKey]) -> DecryptedMessage:
    errors = []
    for key in keys:
        try:
            return message.decrypt(None, key)
        except PgpError as error:
            if "out of memory" in str(error):
                raise MemoryError from error
            errors.append(str(error))
    raise _why_not(message, keys, errors)


def _why_not(message: Message, keys: list[SignedSecretKey], errors: list[str]) -> OpenPgpError:
    """Why none of our keys opened it. Only now, because looking at the packets copies the whole message."""
    damaged = OpenPgpError(
        "damaged", f"The message is damaged or cut short: {'; '.join(sorted(set(errors)))}."
    )
    try:
        sessions = message.public_key_encrypted_session_key_packets()
        kind = message.encrypted_data_packet().kind
    except PgpError:
        return damaged
    ours = {key_id for key in keys for key_id in (key.key_id, *(s.key.key_id for s in key.secret_subkeys))}
    theirs = {(session.recipient_key_id or "an unknown key").lower() for session in sessions}
    if kind == "sed":
        return OpenPgpError(
            "integrity_missing", "The message has no integrity protection. Use a newer program."
        )
    if kind == "gnupg-aead":
        return OpenPgpError("format_unsupported", "The message uses GnuPG's own AEAD. Leave out --force-ocb.")
    if not sessions:
        return OpenPgpError("not_for_us", "The message is encrypted with a password, not to our key.")
    if any(session.recipient_is_anonymous for session in sessions):
        if {*errors} <= {"missing key"}:
            return OpenPgpError("not_for_us", "None of the message's hidden recipients is our key.")
    elif not theirs & {key_id.lower() for key_id in ours}:
        return OpenPgpError(
            "not_for_us", f"The message is encrypted to {', '.join(sorted(theirs))}, not to us."
        )
    return damaged


def _verify(opened: DecryptedMessage, signers: list[str], now: datetime) -> tuple[str, Signature]:
    """The signer's primary fingerprint and the one signature, after every rule of the policy."""
    signatures = opened.signatures()
    if not signatures:
        raise OpenPgpError("not_signed", "The message is not signed. Sign it with the key that we know.")
    if len(signatures) > 1:
        raise OpenPgpError(
            "several_signatures", "The message has several signatures; exactly one is accepted."
        )
    signature = signatures[0]
    certificate, parts, part = _signer(signature, signers, now)
    if signature.hash_alg() not in STRONG_HASHES:
        raise OpenPgpError(
            "signature_weak", f"The signature uses {signature.hash_alg()}; use SHA-256 or better."
        )
    if signature.typ() not in {"binary", "text"}:
        raise OpenPgpError("signature_wrong", f"The signature is one of {signature.typ()}, not of a content.")
    try:
        opened.verify(certificate)
    except PgpError as error:
        raise OpenPgpError("signature_wrong", "The signature does not fit the content.") from error
    _check_times(signature, parts[0], part, now)
    return parts[0].fingerprint, signature


def _signer(
    signature: Signature, signers: list[str], now: datetime
) -> tuple[SignedPublicKey, list[Part], Part]:
    for armored in signers:
        certificate = SignedPublicKey.from_armor(armored)[0]
        parts = read_parts(certificate, now=now)
        if part := signing_part(certificate, parts, signature):
            return certificate, parts, part
    named = ", ".join(signature.issuer_fingerprint() or signature.issuer_key_id()) or "an unnamed key"
    raise OpenPgpError(
        "signer_unknown", f"The message is signed by {named.upper()}, which is not a key we know."
    )


def _check_times(signature: Signature, primary: Part, part: Part, now: datetime) -> None:
    """Whether the key might sign, when it did and now."""
    signed_at = at(signature.created() or 0)
    if signed_at > now + CLOCK_SKEW:
        raise OpenPgpError(
            "signature_future", f"The signature is dated {signed_at:%Y-%m-%d %H:%M} UTC, ahead of us."
        )
    for key in (primary, part):
        if problem := key.problem(max(now, signed_at)):
            raise OpenPgpError(*problem)
    if not part.signs:
        raise OpenPgpError("key_weak", f"Key {part.fingerprint} is not made for signing.")
    if signed_at < part.created_at:
        raise OpenPgpError("signature_wrong", "The signature is older than its key.")
    lasts = signature.signature_expiration_time()
    if lasts and signed_at + timedelta(seconds=lasts) <= now:
        raise OpenPgpError("signature_expired", "The signature has expired. Sign the file again.")


def seal_message(request: dict[str, Any], content: BinaryIO) -> dict[str, Any]:
    """Signs, compresses and encrypts what is in a file, as it is being read."""
    now = datetime.fromisoformat(request["now"])
    recipient = SignedPublicKey.from_armor(request["recipient"])[0]
    reader = choose(read_parts(recipient, now=now), now=now, to="encrypt").subkey or recipient
    secret = SignedSecretKey.from_armor(request["own_key"])[0]
    builder = MessageBuilder.from_reader("", content).seipd_v1("aes256").compression("zlib")
    builder.sign(_signing_key(secret, now), None, "sha256").encrypt_to_key(reader).to_file(request["target"])
    return {}


def _signing_key(secret: SignedSecretKey, now: datetime) -> SignedSecretKey | SignedSecretSubKey:
    part = choose(read_parts(secret.to_public_key(), now=now), now=now, to="sign")
    for subkey in secret.secret_subkeys:
        if subkey.key.fingerprint.upper() == part.fingerprint:
            return subkey
    return secret


if __name__ == "__main__":
    main()
