"""Keys of OpenPGP as they are made, read and judged when somebody gives one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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
from counterfoil.points.files.openpgp_policy import OpenPgpError, Part, choose, read_parts


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
    except OpenPgpError as error:
        raise _unreadable(error.detail) from error
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
