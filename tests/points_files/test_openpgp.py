from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path
from typing import BinaryIO, Final, Literal, get_args

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESOCB3
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from openpgp.composed import KeyType, MessageBuilder, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey
from openpgp.util import encrypt_session_key_to_recipient

from counterfoil.clock import now
from counterfoil.errors import InvalidError
from counterfoil.points.files import openpgp
from counterfoil.points.files.openpgp import KeyPair, Limits, OpenPgpError, make_key
from counterfoil.points.files.openpgp_policy import Code

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULTS: Final = Limits()
PLAIN: Final = b"H|1|BANK|\r\nD|1|member|500\nT|1|500\n" * 20


@dataclass(frozen=True)
class Keys:
    us: KeyPair
    bank: KeyPair
    stranger: KeyPair


@dataclass(frozen=True)
class Desk:
    """A directory that must be empty but for what was opened, and the keys."""

    home: Path
    keys: Keys

    def file(self, content: bytes) -> Path:
        path = self.home / "message"
        path.write_bytes(content)
        return path

    async def open(self, content: bytes | Path, limits: Limits = DEFAULTS) -> bytes:
        source = content if isinstance(content, Path) else self.file(content)
        out = self.home / "out"
        out.mkdir(exist_ok=True)
        try:
            await openpgp.open_message(
                source,
                out / "plain",
                own_keys=[self.keys.us.secret],
                signers=[self.keys.bank.public],
                now=now(),
                limits=limits,
            )
            assert (out / "plain").stat().st_mode & 0o777 == 0o600
            return (out / "plain").read_bytes()
        finally:
            (out / "plain").unlink(missing_ok=True)
            assert [*out.iterdir()] == []

    async def code(self, content: bytes | Path, limits: Limits = DEFAULTS) -> str:
        with pytest.raises(OpenPgpError) as refusal:
            await self.open(content, limits)
        assert refusal.value.detail.endswith(".")
        return refusal.value.code

    async def seal_written(self, write: Callable[[BinaryIO], None], limits: Limits = DEFAULTS) -> None:
        await openpgp.seal_written(
            write,
            self.home / "sealed",
            own_key=self.keys.bank.secret,
            recipient=self.keys.us.public,
            now=now(),
            limits=limits,
        )

    async def sealed(self, content: bytes, signer: KeyPair | None = None, to: KeyPair | None = None) -> bytes:
        plain, target = self.home / "plain", self.home / "sealed"
        plain.write_bytes(content)
        await openpgp.seal_message(
            plain,
            target,
            own_key=(signer or self.keys.bank).secret,
            recipient=(to or self.keys.us).public,
            now=now(),
        )
        return target.read_bytes()


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(*(make_key(f"{name} <{name}@example.org>", now=NOW) for name in ("us", "bank", "stranger")))


@pytest.fixture
def desk(tmp_path: Path, keys: Keys) -> Desk:
    return Desk(tmp_path, keys)


def packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def literal(content: bytes) -> bytes:
    return packet(11, b"b\x00" + bytes(4) + content)


def compressed(packets: bytes) -> bytes:
    return packet(8, b"\x02" + zlib.compress(packets))


def signed(content: bytes, signer: KeyPair, *more: KeyPair) -> bytes:
    builder = MessageBuilder.from_bytes("", content)
    for key in (signer, *more):
        builder = builder.sign(SignedSecretKey.from_armor(key.secret)[0])
    return builder.to_vec()


def cfb(key: bytes, iv: bytes, content: bytes) -> bytes:
    encryptor = Cipher(AES(key), CFB(iv)).encryptor()
    return encryptor.update(content) + encryptor.finalize()


def encrypted(packets: bytes, recipient: KeyPair, *, protected: bool = True) -> bytes:
    """Any packets at all, encrypted to a recipient; without integrity protection as old programs did it."""
    key, prefix = secrets.token_bytes(32), secrets.token_bytes(16)
    prefix += prefix[-2:]
    if protected:
        checked = prefix + packets + b"\xd3\x14"
        data = packet(
            18, b"\x01" + cfb(key, bytes(16), checked + sha1(checked, usedforsecurity=False).digest())
        )
    else:
        head = cfb(key, bytes(16), prefix)
        data = packet(9, head + cfb(key, head[2:18], packets))
    return session(key, recipient) + data


def session(key: bytes, recipient: KeyPair) -> bytes:
    reader = SignedPublicKey.from_armor(recipient.public)[0].public_subkeys[0]
    return encrypt_session_key_to_recipient(key, reader, "seipd-v1", "aes256").to_bytes()


def encrypted_as_only_gnupg_does(packets: bytes, recipient: KeyPair) -> bytes:
    """One chunk in OCB, and the tag over the whole, as `gpg --force-ocb` writes it."""
    key, iv, head = secrets.token_bytes(32), secrets.token_bytes(15), b"\x01\x09\x02\x10"
    context, first, last = b"\xd4" + head, bytes(8), (1).to_bytes(8, "big")
    nonce = iv[:14] + bytes([iv[14] ^ 1])
    chunk = AESOCB3(key).encrypt(iv, packets, context + first)
    tag = AESOCB3(key).encrypt(nonce, b"", context + last + len(packets).to_bytes(8, "big"))
    return session(key, recipient) + packet(20, head + iv + chunk + tag)


async def test_what_we_seal_we_can_open(desk: Desk) -> None:
    assert await desk.open(await desk.sealed(PLAIN)) == PLAIN


async def test_it_is_told_who_signed_when_and_how_much(desk: Desk, keys: Keys) -> None:
    before = now()
    source = desk.file(await desk.sealed(PLAIN))
    opened = await openpgp.open_message(
        source, desk.home / "p", own_keys=[keys.us.secret], signers=[keys.bank.public], now=now()
    )
    assert (opened.signer, opened.plain_bytes) == (keys.bank.fingerprint, len(PLAIN))
    assert before - timedelta(seconds=1) <= opened.signed_at <= now()


async def test_any_of_our_keys_opens_and_any_pinned_key_may_have_signed(desk: Desk, keys: Keys) -> None:
    source = desk.file(await desk.sealed(PLAIN))
    opened = await openpgp.open_message(
        source,
        desk.home / "p",
        own_keys=[keys.stranger.secret, keys.us.secret],
        signers=[keys.stranger.public, keys.bank.public],
        now=now(),
    )
    assert opened.signer == keys.bank.fingerprint


async def test_an_empty_content_is_content(desk: Desk) -> None:
    assert await desk.open(await desk.sealed(b"")) == b""


@pytest.mark.parametrize(
    "content", [b"", b"H|1\nT|0\n", bytes(range(256)), b"\x99garbage", b"-----BEGIN PGP"]
)
async def test_what_is_no_openpgp_is_said_to_be_none(desk: Desk, content: bytes) -> None:
    assert await desk.code(content) == "not_openpgp"


async def test_our_own_packets_stand_for_those_of_any_program(desk: Desk, keys: Keys) -> None:
    assert await desk.open(encrypted(compressed(signed(PLAIN, keys.bank)), keys.us)) == PLAIN


@pytest.mark.parametrize("mode", ["ocb", "eax", "gcm"])
async def test_the_newer_encryption_of_rfc_9580_is_opened_too(
    desk: Desk, keys: Keys, mode: Literal["ocb", "eax", "gcm"]
) -> None:
    builder = MessageBuilder.from_bytes("", PLAIN).seipd_v2("aes256", mode)
    builder = builder.sign(SignedSecretKey.from_armor(keys.bank.secret)[0])
    reader = SignedPublicKey.from_armor(keys.us.public)[0].public_subkeys[0]
    assert await desk.open(builder.encrypt_to_key(reader).to_vec()) == PLAIN


REFUSED: Final[dict[str, tuple[Callable[[Keys], bytes], set[str]]]] = {
    "signed, not encrypted": (lambda k: signed(PLAIN, k.bank), {"not_encrypted"}),
    "compressed, not encrypted": (lambda k: compressed(signed(PLAIN, k.bank)), {"not_encrypted"}),
    "encrypted, not signed": (lambda k: encrypted(literal(PLAIN), k.us), {"not_signed"}),
    "encrypted to somebody else": (lambda k: encrypted(signed(PLAIN, k.bank), k.stranger), {"not_for_us"}),
    "signed by a stranger": (lambda k: encrypted(signed(PLAIN, k.stranger), k.us), {"signer_unknown"}),
    "signed by two": (lambda k: encrypted(signed(PLAIN, k.bank, k.stranger), k.us), {"several_signatures"}),
    "signed twice by one": (lambda k: encrypted(signed(PLAIN, k.bank, k.bank), k.us), {"several_signatures"}),
    "without integrity protection": (
        lambda k: encrypted(signed(PLAIN, k.bank), k.us, protected=False),
        {"integrity_missing"},
    ),
    "in GnuPG's own format": (
        lambda k: encrypted_as_only_gnupg_does(signed(PLAIN, k.bank), k.us),
        {"format_unsupported"},
    ),
    "other content under a signature": (
        lambda k: encrypted(signed(PLAIN, k.bank).replace(b"500", b"900"), k.us),
        {"signature_wrong"},
    ),
    "a literal before what is signed": (
        lambda k: encrypted(literal(b"forged") + signed(PLAIN, k.bank), k.us),
        {"damaged", "not_signed"},
    ),
    "a literal after what is signed": (
        lambda k: encrypted(signed(PLAIN, k.bank) + literal(b"forged"), k.us),
        {"damaged"},
    ),
    "two signed messages": (lambda k: encrypted(signed(PLAIN, k.bank) * 2, k.us), {"damaged"}),
    "a literal before what is signed, compressed": (
        lambda k: encrypted(compressed(literal(b"forged") + signed(PLAIN, k.bank)), k.us),
        {"not_signed"},
    ),
    "more after the compression": (
        lambda k: encrypted(compressed(signed(PLAIN, k.bank)) + literal(b"forged"), k.us),
        {"damaged"},
    ),
    "a message within a message": (
        lambda k: encrypted(encrypted(signed(PLAIN, k.bank), k.us), k.us),
        {"damaged"},
    ),
    "nothing in it": (lambda k: encrypted(b"", k.us), {"damaged"}),
    "garbage in it": (lambda k: encrypted(bytes(range(255, 0, -1)), k.us), {"damaged"}),
    "two messages": (lambda k: encrypted(signed(PLAIN, k.bank), k.us) * 2, {"damaged"}),
    "garbage at its end": (lambda k: encrypted(signed(PLAIN, k.bank), k.us) + b"garbage\n", {"damaged"}),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_message_is_refused_that_is(desk: Desk, keys: Keys, what: str) -> None:
    make, codes = REFUSED[what]
    assert await desk.code(make(keys)) in codes


async def test_a_message_cut_anywhere_is_refused(desk: Desk) -> None:
    message = await desk.sealed(PLAIN)
    for length in range(1, len(message), max(1, len(message) // 25)):
        assert await desk.code(message[:length]) in {"damaged", "not_openpgp"}
    assert await desk.code(message[:-1]) == "damaged"


async def test_a_message_with_one_bit_turned_anywhere_is_refused(desk: Desk) -> None:
    message = await desk.sealed(PLAIN)
    for position in range(0, len(message), max(1, len(message) // 40)):
        turned = bytearray(message)
        turned[position] ^= 1 << (position % 8)
        assert await desk.code(bytes(turned)) in {"damaged", "not_openpgp", "not_for_us", "not_encrypted"}


async def test_a_bomb_is_too_large_and_harms_nobody(desk: Desk) -> None:
    zeros = desk.home / "plain"
    with zeros.open("wb") as file:
        file.truncate(300_000_000)
    target = desk.home / "bomb"
    await openpgp.seal_message(
        zeros, target, own_key=desk.keys.bank.secret, recipient=desk.keys.us.public, now=now()
    )
    assert target.stat().st_size < 1_000_000
    assert await desk.code(target, Limits(plain_bytes=20_000_000)) == "too_large"


async def test_more_content_than_allowed_is_too_large(desk: Desk) -> None:
    message = await desk.sealed(PLAIN)
    assert await desk.code(message, Limits(plain_bytes=len(PLAIN) - 1)) == "too_large"
    assert await desk.open(message, Limits(plain_bytes=len(PLAIN))) == PLAIN


async def test_a_file_larger_than_any_message_allowed_is_not_even_read(desk: Desk) -> None:
    source = desk.file(b"")
    os.truncate(source, Limits().source_bytes + 1)
    assert await desk.code(source) == "too_large"


async def test_trouble_of_our_own_is_not_blamed_on_the_message(desk: Desk, keys: Keys) -> None:
    source = desk.file(await desk.sealed(PLAIN))
    with pytest.raises(RuntimeError, match="No such file or directory"):
        await openpgp.open_message(
            source,
            desk.home / "missing" / "plain",
            own_keys=[keys.us.secret],
            signers=[keys.bank.public],
            now=now(),
        )


async def test_compression_in_compression_harms_nobody(desk: Desk, keys: Keys) -> None:
    packets = signed(PLAIN, keys.bank)
    for _ in range(3000):
        packets = compressed(packets)
    with suppress(OpenPgpError):
        assert await desk.open(encrypted(packets, keys.us)) == PLAIN


async def test_what_follows_the_signed_message_in_its_compression_is_not_read(desk: Desk, keys: Keys) -> None:
    packets = compressed(signed(PLAIN, keys.bank) + literal(b"forged"))
    assert await desk.open(encrypted(packets, keys.us)) == PLAIN


async def test_what_takes_too_long_is_given_up(desk: Desk) -> None:
    os.mkfifo(desk.home / "pipe")
    writer = asyncio.create_task(asyncio.to_thread(os.open, desk.home / "pipe", os.O_WRONLY))
    assert await desk.code(desk.home / "pipe", Limits(seconds=1)) == "timed_out"
    os.close(await writer)


async def test_what_could_not_be_written_to_its_end_is_not_signed(desk: Desk) -> None:
    def write(file: BinaryIO) -> None:
        file.write(bytes(5_000_000))
        raise LookupError

    with pytest.raises(LookupError):
        await desk.seal_written(write)
    assert [*desk.home.iterdir()] == []


async def test_who_writes_what_nobody_reads_any_more_is_told_why(desk: Desk) -> None:
    def write(file: BinaryIO) -> None:
        while True:
            file.write(bytes(1_000_000))

    with pytest.raises(OpenPgpError) as refusal:
        await desk.seal_written(write, Limits(seconds=1))
    assert refusal.value.code == "timed_out"
    assert [*desk.home.iterdir()] == []


async def test_a_task_that_is_cancelled_leaves_no_process_and_no_file(desk: Desk) -> None:
    os.mkfifo(desk.home / "pipe")
    task = asyncio.create_task(desk.open(desk.home / "pipe"))
    reading = await asyncio.to_thread(os.open, desk.home / "pipe", os.O_WRONLY)  # opens when the child does
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    with pytest.raises(BrokenPipeError):
        os.write(reading, b"x")
    os.close(reading)


async def test_the_child_dies_with_its_parent(desk: Desk) -> None:
    os.mkfifo(desk.home / "pipe")
    script = (
        "import asyncio, sys; from pathlib import Path; from counterfoil.clock import now;"
        "from counterfoil.points.files.openpgp import open_message;"
        "d = Path(sys.argv[1]);"
        "asyncio.run(open_message(d / 'pipe', d / 'plain', own_keys=[], signers=[], now=now()))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(desk.home), env=environment
    )
    reading = await asyncio.to_thread(os.open, desk.home / "pipe", os.O_WRONLY)
    parent.kill()
    await parent.wait()
    with pytest.raises(BrokenPipeError):
        await asyncio.to_thread(_write_without_end, reading)
    os.close(reading)


def _write_without_end(pipe: int) -> None:
    while True:
        os.write(pipe, b"x")


async def test_a_key_of_ours_has_all_that_is_needed(keys: Keys) -> None:
    for armored, secret in ((keys.us.secret, True), (keys.us.public, False)):
        facts = openpgp.read_key(armored, now=now())
        assert facts.fingerprint == keys.us.fingerprint
        assert facts.user_ids == ("us <us@example.org>",)
        assert (facts.algorithm, facts.created_at, facts.expires_at) == ("ed25519", NOW, None)
        assert (facts.can_sign, facts.can_encrypt, facts.revoked, facts.secret) == (True, True, False, secret)
        openpgp.check_key(facts, now=now())


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"])
def test_what_is_no_key_is_refused_with_advice(text: str) -> None:
    with pytest.raises(InvalidError, match="gpg --armor") as refusal:
        openpgp.read_key(text, now=now())
    assert refusal.value.code == "key_unreadable"


def test_two_keys_at_once_are_refused(keys: Keys) -> None:
    with pytest.raises(InvalidError) as refusal:
        openpgp.read_key(keys.us.public + "\n" + keys.bank.public, now=now())
    assert refusal.value.code == "key_unreadable"


def test_a_key_that_can_only_sign_is_refused() -> None:
    params = SecretKeyParamsBuilder().version(4).key_type(KeyType.ed25519_legacy()).can_sign(True)
    key = params.can_certify(True).primary_user_id("Half <half@example.org>").generate()
    facts = openpgp.read_key(key.to_public_key().to_armored(), now=now())
    assert (facts.can_sign, facts.can_encrypt) == (True, False)
    with pytest.raises(InvalidError, match="no part that may encrypt") as refusal:
        openpgp.check_key(facts, now=now())
    assert refusal.value.code == "key_weak"


async def test_a_content_that_cannot_be_sealed_leaves_nothing(desk: Desk, keys: Keys) -> None:
    half = SecretKeyParamsBuilder().version(4).key_type(KeyType.ed25519_legacy()).can_sign(True)
    public = half.primary_user_id("Half <half@example.org>").generate().to_public_key().to_armored()
    with pytest.raises(OpenPgpError):
        await desk.sealed(PLAIN, to=KeyPair("", public, ""))
    assert [path.name for path in desk.home.iterdir()] == ["plain"]


def test_every_code_is_documented_once() -> None:
    document = Path(__file__).parents[2] / "docs" / "openpgp.md"
    documented = re.findall(r"^\| `(\w+)` \|", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(get_args(Code))


async def test_content_of_exactly_the_limit_that_does_not_compress_has_memory_enough(desk: Desk) -> None:
    content = secrets.token_bytes(
        33 * 1024 * 1024
    )  # a little more than a power of two, the worst for doubling
    assert await desk.open(await desk.sealed(content), Limits(plain_bytes=len(content))) == content
