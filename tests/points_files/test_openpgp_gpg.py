from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from openpgp.composed import SignedPublicKey
from openpgp.packet import PacketParser, Signature

from counterfoil.clock import now
from counterfoil.errors import InvalidError
from counterfoil.points.files import openpgp
from counterfoil.points.files.openpgp import KeyPair, Opened, OpenPgpError, make_key
from tests.points_files.gpg import Gpg, needs_gpg, throwaway

pytestmark = needs_gpg

PLAIN: Final = b"H|1|BANK|\nD|1|member|500\nT|1|500\n" * 200


@dataclass(frozen=True)
class Bank:
    """A partner with gpg and several keys, who knows ours."""

    gpg: Gpg
    us: KeyPair
    curve: str
    rsa: str
    split: str
    """A primary that only certifies, and a subkey that signs."""

    async def send(
        self,
        home: Path,
        *extra_args: str,
        signer: str | None = None,
        pinned: Sequence[str] | None = None,
        at: datetime | None = None,
    ) -> Opened:
        """Gpg signs, encrypts to us, and we open it against the keys that are `pinned` (the signer's)."""
        plain, message = home / "plain", home / "message"
        plain.write_bytes(PLAIN)
        signer = signer or self.curve
        self.gpg.encrypt_sign(plain, message, self.us.fingerprint, extra_args, signer=signer, at=at)
        pins = pinned if pinned is not None else [self.gpg.export_public(signer)]
        opened = await self.open(home, *pins)
        assert (home / "opened").read_bytes() == PLAIN
        return opened

    async def open(self, home: Path, *pinned: str) -> Opened:
        """Opens what lies at `message`, which a key that is `pinned` must have signed: any of the three."""
        pins = pinned or [self.gpg.export_public(key) for key in (self.curve, self.rsa, self.split)]
        own_keys = [self.us.secret]
        before = names(home)
        try:
            return await openpgp.open_message(
                home / "message", home / "opened", own_keys=own_keys, signers=pins, now=now()
            )
        except OpenPgpError:
            assert names(home) == before
            raise

    async def refusal(
        self,
        home: Path,
        *extra_args: str,
        signer: str | None = None,
        pinned: Sequence[str] | None = None,
        at: datetime | None = None,
    ) -> str:
        with pytest.raises(OpenPgpError) as refusal:
            await self.send(home, *extra_args, signer=signer, pinned=pinned, at=at)
        return refusal.value.code


def names(home: Path) -> set[str]:
    return {path.name for path in home.iterdir()}


def without_back_signatures(armored: str) -> str:
    """The key without that part of its signatures which is not signed: there gpg puts the back signature."""
    key = b""
    for packet in PacketParser(SignedPublicKey.from_armor(armored)[0].to_bytes()):
        if not isinstance(packet.value, Signature):
            key += packet.to_bytes()
            continue
        body = packet.value.to_bytes()
        start = 6 + int.from_bytes(body[4:6], "big")
        after = start + 2 + int.from_bytes(body[start : start + 2], "big")
        body = body[:start] + b"\0\0" + body[after:]
        key += b"\xc2\xff" + len(body).to_bytes(4, "big") + body
    return SignedPublicKey.from_bytes(key).to_armored()


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    us = make_key("Us <us@example.org>", now=now() - timedelta(days=365))
    with throwaway() as gpg:
        gpg.import_key(us.public)
        yield Bank(
            gpg,
            us,
            curve=gpg.make_key("curve25519", user_id="Curve <curve@example.org>"),
            rsa=gpg.make_key("rsa3072", user_id="Rsa <rsa@example.org>"),
            split=gpg.make_key(user_id="Split <split@example.org>", usage="cert", subkeys=("encr", "sign")),
        )


@pytest.mark.parametrize(
    "extra_args",
    [
        (),
        ("-z", "0"),
        ("--compress-algo", "none"),
        ("--compress-algo", "zip"),
        ("--compress-algo", "zlib"),
        ("--compress-algo", "bzip2"),
        ("--armor",),
        ("--throw-keyids",),
        ("--openpgp",),
        ("--rfc4880",),
        ("--digest-algo", "SHA512"),
        ("--cipher-algo", "AES128"),
        ("--recipient", "curve@example.org"),
    ],
    ids=lambda args: " ".join(args) or "defaults",
)
async def test_what_gpg_signs_and_encrypts_we_open(
    bank: Bank, tmp_path: Path, extra_args: tuple[str, ...]
) -> None:
    opened = await bank.send(tmp_path, *extra_args)
    assert (opened.signer, opened.plain_bytes) == (bank.curve, len(PLAIN))


async def test_text_mode_is_opened_with_the_line_ends_that_it_sends(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    bank.gpg.encrypt_sign(
        tmp_path / "plain", tmp_path / "message", bank.us.fingerprint, ["--textmode"], signer=bank.curve
    )
    await bank.open(tmp_path)
    assert (tmp_path / "opened").read_bytes() == PLAIN.replace(b"\n", b"\r\n")


async def test_a_signature_of_rsa_is_as_good(bank: Bank, tmp_path: Path) -> None:
    assert (await bank.send(tmp_path, signer=bank.rsa)).signer == bank.rsa


async def test_a_signing_subkey_stands_for_its_primary(bank: Bank, tmp_path: Path) -> None:
    assert (await bank.send(tmp_path, signer=bank.split)).signer == bank.split


async def test_nist_curves_are_accepted(bank: Bank, tmp_path: Path) -> None:
    signer = bank.gpg.make_key("nistp256", user_id="Nist <nist@example.org>")
    assert (await bank.send(tmp_path, signer=signer)).signer == signer


async def test_a_secret_key_made_by_gpg_can_be_ours(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    bank.gpg.encrypt_sign(tmp_path / "plain", tmp_path / "message", bank.rsa, signer=bank.curve)
    await openpgp.open_message(
        tmp_path / "message",
        tmp_path / "opened",
        own_keys=[bank.gpg.export_secret(bank.rsa)],
        signers=[bank.gpg.export_public(bank.curve)],
        now=now(),
    )
    assert (tmp_path / "opened").read_bytes() == PLAIN


@pytest.mark.parametrize("reader", ["curve", "rsa", "split"])
async def test_what_we_seal_gpg_reads_without_complaint(bank: Bank, tmp_path: Path, reader: str) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    await openpgp.seal_message(
        tmp_path / "plain",
        tmp_path / "sealed",
        own_key=bank.us.secret,
        recipient=bank.gpg.export_public(getattr(bank, reader)),
        now=now(),
    )
    content, status = bank.gpg.decrypt(tmp_path / "sealed")
    assert content == PLAIN
    said = {line.split()[0] for line in status}
    assert {"GOODSIG", "VALIDSIG", "DECRYPTION_OKAY", "GOODMDC"} <= said
    assert not said & {"ERROR", "FAILURE", "BADSIG", "ERRSIG", "EXPKEYSIG", "REVKEYSIG", "BADMDC", "WARNING"}
    assert bank.us.fingerprint in next(line for line in status if line.startswith("VALIDSIG"))


async def test_a_subkey_that_expired_is_not_encrypted_to(bank: Bank, tmp_path: Path) -> None:
    key = bank.gpg.make_key(user_id="Renewed <renewed@example.org>")
    old = bank.gpg.subkey(key, "e")
    bank.gpg.run("--quick-add-key", key, "cv25519", "encr", "0")
    bank.gpg.revoke(key, old)
    (tmp_path / "plain").write_bytes(PLAIN)
    await openpgp.seal_message(
        tmp_path / "plain",
        tmp_path / "sealed",
        own_key=bank.us.secret,
        recipient=bank.gpg.export_public(key),
        now=now(),
    )
    _, status = bank.gpg.decrypt(tmp_path / "sealed")
    new = bank.gpg.subkey(key, "e")
    assert any(line.startswith(f"DECRYPTION_KEY {new}") for line in status)


async def test_a_signature_of_an_unknown_key_is_refused(bank: Bank, tmp_path: Path) -> None:
    pinned = [bank.gpg.export_public(bank.rsa)]
    assert await bank.refusal(tmp_path, signer=bank.curve, pinned=pinned) == "signer_unknown"


async def test_a_signature_by_sha_1_is_refused(bank: Bank, tmp_path: Path) -> None:
    assert await bank.refusal(tmp_path, "--digest-algo", "SHA1", signer=bank.rsa) == "signature_weak"


async def test_two_signatures_are_refused(bank: Bank, tmp_path: Path) -> None:
    assert await bank.refusal(tmp_path, "--local-user", bank.rsa) == "several_signatures"


async def test_a_password_in_place_of_our_key_is_refused(bank: Bank, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    password = ("--passphrase", "secret", "--s2k-count", "1024")
    bank.gpg.run(*password, "--output", str(tmp_path / "message"), "--symmetric", str(tmp_path / "plain"))
    with pytest.raises(OpenPgpError, match="password") as refusal:
        await bank.open(tmp_path)
    assert refusal.value.code == "not_for_us"


@pytest.mark.parametrize("extra_args", [(), ("--throw-keyids",)])
async def test_a_message_to_somebody_else_is_refused(
    bank: Bank, tmp_path: Path, extra_args: tuple[str, ...]
) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    bank.gpg.encrypt_sign(tmp_path / "plain", tmp_path / "message", bank.rsa, extra_args, signer=bank.curve)
    with pytest.raises(OpenPgpError) as refusal:
        await bank.open(tmp_path)
    assert refusal.value.code == "not_for_us"


@pytest.mark.parametrize("command", ["--sign", "--clearsign", "--detach-sign", "--store"])
async def test_what_gpg_does_not_encrypt_is_refused(bank: Bank, tmp_path: Path, command: str) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    bank.gpg.run("--output", str(tmp_path / "message"), command, str(tmp_path / "plain"))
    with pytest.raises(OpenPgpError) as refusal:
        await bank.open(tmp_path)
    assert refusal.value.code in {"not_encrypted", "not_openpgp"}


async def test_a_key_that_expired_signs_no_more_even_with_an_old_signature(
    bank: Bank, tmp_path: Path
) -> None:
    then = now() - timedelta(days=30)
    key = bank.gpg.make_key(user_id="Expired <expired@example.org>", expires="10d", at=then)
    assert await bank.refusal(tmp_path, signer=key, at=then + timedelta(days=1)) == "key_expired"
    facts = openpgp.read_key(bank.gpg.export_public(key), now=now())
    with pytest.raises(InvalidError) as refusal:
        openpgp.check_key(facts, now=now())
    assert refusal.value.code == "key_expired"


async def test_a_key_that_was_extended_signs_again(bank: Bank, tmp_path: Path) -> None:
    then = now() - timedelta(days=30)
    key = bank.gpg.make_key(user_id="Extended <extended@example.org>", expires="10d", at=then)
    bank.gpg.run("--quick-set-expire", key, "90d")
    assert (await bank.send(tmp_path, signer=key)).signer == key


async def test_a_signing_subkey_that_expired_is_refused(bank: Bank, tmp_path: Path) -> None:
    then = now() - timedelta(days=30)
    key = bank.gpg.make_key(user_id="Subkey <subkey@example.org>", usage="cert", at=then)
    bank.gpg.run(
        "--faked-system-time", f"{then:%Y%m%dT%H%M%S}!", "--quick-add-key", key, "ed25519", "sign", "5d"
    )
    assert await bank.refusal(tmp_path, signer=key, at=then + timedelta(days=1)) == "key_expired"


async def test_a_revoked_key_is_refused(bank: Bank, tmp_path: Path) -> None:
    key = bank.gpg.make_key(user_id="Revoked <revoked@example.org>")
    assert (await bank.send(tmp_path, signer=key)).signer == key
    bank.gpg.revoke(key)
    revoked = bank.gpg.export_public(key)
    with pytest.raises(OpenPgpError) as refusal:
        await bank.open(tmp_path, revoked)
    assert refusal.value.code == "key_revoked"
    with pytest.raises(InvalidError) as invalid:
        openpgp.check_key(openpgp.read_key(revoked, now=now()), now=now())
    assert invalid.value.code == "key_revoked"


async def test_a_revoked_signing_subkey_is_refused(bank: Bank, tmp_path: Path) -> None:
    key = bank.gpg.make_key(user_id="Half <half@example.org>", usage="cert", subkeys=("encr", "sign"))
    assert (await bank.send(tmp_path, signer=key)).signer == key
    bank.gpg.revoke(key, bank.gpg.subkey(key, "s"))
    with pytest.raises(OpenPgpError) as refusal:
        await bank.open(tmp_path, bank.gpg.export_public(key))
    assert refusal.value.code == "key_revoked"


async def test_a_signing_subkey_that_did_not_agree_to_its_primary_is_refused(
    bank: Bank, tmp_path: Path
) -> None:
    (tmp_path / "plain").write_bytes(PLAIN)
    bank.gpg.encrypt_sign(tmp_path / "plain", tmp_path / "message", bank.us.fingerprint, signer=bank.split)
    with pytest.raises(OpenPgpError) as refusal:
        await bank.open(tmp_path, without_back_signatures(bank.gpg.export_public(bank.split)))
    assert refusal.value.code == "key_weak"


async def test_a_signature_from_the_future_is_refused(bank: Bank, tmp_path: Path) -> None:
    assert await bank.refusal(tmp_path, at=now() + timedelta(hours=1)) == "signature_future"


async def test_a_clock_that_is_a_little_ahead_is_forgiven(bank: Bank, tmp_path: Path) -> None:
    assert (await bank.send(tmp_path, at=now() + timedelta(minutes=5))).signer == bank.curve


async def test_a_signature_that_expired_is_refused(bank: Bank, tmp_path: Path) -> None:
    at = now() - timedelta(days=3)
    key = bank.gpg.make_key(user_id="Brief <brief@example.org>", at=at - timedelta(days=1))
    assert (
        await bank.refusal(tmp_path, "--default-sig-expire", "1d", signer=key, at=at) == "signature_expired"
    )


@pytest.mark.parametrize("kind", ["rsa1024", "dsa2048"])
async def test_a_weak_key_is_refused_when_it_is_given_and_when_it_signs(
    bank: Bank, tmp_path: Path, kind: str
) -> None:
    key = bank.gpg.make_key(kind, user_id=f"{kind} <{kind}@example.org>")
    facts = openpgp.read_key(bank.gpg.export_public(key), now=now())
    with pytest.raises(InvalidError) as refusal:
        openpgp.check_key(facts, now=now())
    assert refusal.value.code == "key_weak"
    assert await bank.refusal(tmp_path, "--digest-algo", "SHA256", signer=key) == "key_weak"


async def test_a_key_whose_self_signature_is_sha_1_is_refused(bank: Bank, tmp_path: Path) -> None:
    old = ("--cert-digest-algo", "SHA1")
    key = bank.gpg.make_key("rsa3072", user_id="Old <old@example.org>", extra_args=old)
    assert await bank.refusal(tmp_path, signer=key) == "key_weak"


def test_a_key_that_others_certified_is_refused_with_the_command_that_cleans_it(bank: Bank) -> None:
    key = bank.gpg.make_key(user_id="Certified <certified@example.org>")
    bank.gpg.run("--local-user", bank.curve, "--quick-sign-key", key)
    with pytest.raises(InvalidError, match="--export-options export-minimal"):
        openpgp.read_key(bank.gpg.export_public(key), now=now())
    clean = bank.gpg.export_public(key, "--export-options", "export-minimal")
    assert openpgp.read_key(clean, now=now()).fingerprint == key


def test_a_locked_secret_key_is_refused(bank: Bank) -> None:
    password = ("--passphrase", "secret")
    bank.gpg.run(*password, "--quick-gen-key", "Locked <locked@example.org>", "ed25519")
    armored = bank.gpg.run(*password, "--armor", "--export-secret-keys", "locked@example.org").decode()
    with pytest.raises(InvalidError, match="passphrase"):
        openpgp.read_key(armored, now=now())


def test_a_key_tells_its_facts(bank: Bank) -> None:
    ends = datetime(2040, 1, 1, tzinfo=UTC)
    key = bank.gpg.make_key(user_id="Facts <facts@example.org>", expires="20400101T000000")
    facts = openpgp.read_key(bank.gpg.export_public(key), now=now())
    assert (facts.fingerprint, facts.user_ids, facts.algorithm) == (
        key,
        ("Facts <facts@example.org>",),
        "ed25519",
    )
    assert (facts.expires_at, facts.revoked, facts.can_sign, facts.can_encrypt) == (ends, False, True, True)
    assert openpgp.read_key(bank.gpg.export_public(bank.rsa), now=now()).algorithm == "rsa3072"
    split = openpgp.read_key(bank.gpg.export_public(bank.split), now=now())
    assert (split.can_sign, split.can_encrypt) == (True, True)
