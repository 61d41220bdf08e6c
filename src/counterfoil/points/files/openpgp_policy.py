"""Which keys may sign a partner's file and which may be encrypted to: rules only, no file and no clock.

OpenPGP leaves much to the reader: a certificate carries its own expiry, its purposes and its revocation, and
a library verifies arithmetic, not policy. This is the policy. It believes a certificate only as far as its
own signatures, made with SHA-2 or SHA-3, reach; whatever is unclear is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from openpgp.composed import SignedPublicKey, SignedPublicSubKey
from openpgp.errors import Error as PgpError
from openpgp.packet import Signature
from openpgp.types import PublicParams

STRONG_HASHES: Final = frozenset({"sha256", "sha384", "sha512", "sha3-256", "sha3-512"})
STRONG_KINDS: Final = frozenset(
    {"rsa", "ecdsa", "ecdh", "eddsa-legacy", "ed25519", "ed448", "x25519", "x448"}
)
MIN_RSA_BITS: Final = 2048
CLOCK_SKEW: Final = timedelta(minutes=10)
"""How far ahead of ours a partner's clock may be."""


Code = Literal[
    "not_openpgp",
    "not_encrypted",
    "not_for_us",
    "integrity_missing",
    "format_unsupported",
    "damaged",
    "not_signed",
    "several_signatures",
    "signer_unknown",
    "signature_weak",
    "signature_wrong",
    "signature_future",
    "signature_expired",
    "key_expired",
    "key_revoked",
    "key_weak",
    "too_large",
    "timed_out",
]


class OpenPgpError(Exception):
    """A file or key was refused: a stable code, and a sentence for the partner and the operator."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code: Code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Part:
    """One key of a certificate, the primary or a subkey, with all that its certificate says of it.

    `flaw` says why it may not be used whatever the time (weak algorithm, weak or missing self-signature).
    """

    fingerprint: str
    created_at: datetime
    expires_at: datetime | None
    revoked: bool
    signs: bool
    encrypts: bool
    flaw: str
    subkey: SignedPublicSubKey | None

    def problem(self, now: datetime) -> tuple[Code, str] | None:
        """The code and reason for which this key may not be used at `now`, or None."""
        if self.revoked:
            return "key_revoked", f"Key {self.fingerprint} has been revoked."
        if self.expires_at is not None and self.expires_at <= now:
            return "key_expired", f"Key {self.fingerprint} expired at {self.expires_at:%Y-%m-%d %H:%M} UTC."
        if self.flaw:
            return "key_weak", f"Key {self.fingerprint} {self.flaw}."
        return None


def read_parts(certificate: SignedPublicKey, *, now: datetime) -> list[Part]:
    """All keys of a certificate, the primary first. Raises `OpenPgpError` if a signature in it is false."""
    try:
        certificate.verify_bindings()
    except PgpError as error:
        fingerprint = certificate.fingerprint.upper()
        raise OpenPgpError("key_weak", f"Key {fingerprint} has a signature that fails: {error}.") from error
    primary = _primary(certificate, now)
    return [primary, *(_subkey(certificate, subkey, primary, now) for subkey in certificate.public_subkeys)]


def signing_part(certificate: SignedPublicKey, parts: list[Part], signature: Signature) -> Part | None:
    """The key of the certificate that the signature names; None if it names none or is not clear about it."""
    named = {fingerprint.upper() for fingerprint in signature.issuer_fingerprint()}
    ids = {key_id.upper() for key_id in signature.issuer_key_id()}
    if len(named) > 1 or len(ids) > 1 or not (named or ids):
        return None
    for part in parts:
        if (not named or part.fingerprint in named) and (not ids or _key_id(certificate, part) in ids):
            return part
    return None


def choose(parts: list[Part], *, now: datetime, to: str) -> Part:
    """The newest usable key that may `sign` or `encrypt`. Raises `OpenPgpError`, saying why there is none."""
    primary = parts[0]
    if problem := primary.problem(now):
        raise OpenPgpError(*problem)
    able = [part for part in parts if (part.signs if to == "sign" else part.encrypts)]
    usable = [part for part in able if not part.problem(now)]
    if usable:
        return max(usable, key=lambda part: part.created_at)
    for part in able:
        if problem := part.problem(now):
            raise OpenPgpError(*problem)
    raise OpenPgpError("key_weak", f"Key {primary.fingerprint} has no part that may {to}.")


def _primary(certificate: SignedPublicKey, now: datetime) -> Part:
    key, details = certificate.primary_key, certificate.details
    mine = [*details.direct_signatures]
    for user in details.users:
        if not any(signature.typ() == "cert-revocation" for signature in user.signatures):
            mine += user.signatures
    own = [s for s in mine if _issued_by(s, key.fingerprint, key.key_id)]
    latest = _latest(own, now)
    return Part(
        fingerprint=key.fingerprint.upper(),
        created_at=at(key.created_at),
        expires_at=_expiry(key.created_at, latest),
        revoked=bool(details.revocation_signatures),
        signs=latest is not None and latest.key_flags().sign,
        encrypts=latest is not None and _encrypts(latest),
        flaw=_flaw(key.public_params, latest),
        subkey=None,
    )


def _subkey(certificate: SignedPublicKey, subkey: SignedPublicSubKey, primary: Part, now: datetime) -> Part:
    bindings = [
        s for s in subkey.signatures if s.typ() == "subkey-binding" and _binds(certificate, subkey, s)
    ]
    latest = _latest(bindings, now)
    ends = [e for e in (primary.expires_at, _expiry(subkey.key.created_at, latest)) if e is not None]
    return Part(
        fingerprint=subkey.key.fingerprint.upper(),
        created_at=at(subkey.key.created_at),
        expires_at=min(ends, default=None),
        revoked=primary.revoked or any(s.typ() == "subkey-revocation" for s in subkey.signatures),
        signs=latest is not None and latest.key_flags().sign and _binds_back(certificate, subkey, latest),
        encrypts=latest is not None and _encrypts(latest),
        flaw=primary.flaw or _flaw(subkey.key.public_params, latest),
        subkey=subkey,
    )


def _binds(certificate: SignedPublicKey, subkey: SignedPublicSubKey, binding: Signature) -> bool:
    try:
        binding.verify_subkey_binding(certificate.primary_key, subkey.key)
    except PgpError:
        return False
    return True


def _binds_back(certificate: SignedPublicKey, subkey: SignedPublicSubKey, binding: Signature) -> bool:
    """Whether the subkey agreed: without it, anybody could claim another's signing key as a subkey."""
    back = binding.embedded_signature()
    if back is None or back.hash_alg() not in STRONG_HASHES:
        return False
    try:
        back.verify_primary_key_binding(subkey.key, certificate.primary_key)
    except PgpError:
        return False
    return True


def _latest(signatures: Iterable[Signature], now: datetime) -> Signature | None:
    """The newest strong self-signature that says what the key is for; older ones it replaces."""
    told = [
        s
        for s in signatures
        if s.hash_alg() in STRONG_HASHES and _purposes(s) and at(s.created() or 0) <= now + CLOCK_SKEW
    ]
    return max(told, key=lambda s: s.created() or 0, default=None)


def _purposes(signature: Signature) -> bool:
    flags = signature.key_flags()
    return flags.certify or flags.sign or flags.authenticate or _encrypts(signature)


def _encrypts(signature: Signature) -> bool:
    flags = signature.key_flags()
    return flags.encrypt_communications or flags.encrypt_storage


def _issued_by(signature: Signature, fingerprint: str, key_id: str) -> bool:
    named = {value.upper() for value in (*signature.issuer_fingerprint(), *signature.issuer_key_id())}
    return bool(named) and named <= {fingerprint.upper(), key_id.upper()}


def _flaw(params: PublicParams, latest: Signature | None) -> str:
    if params.kind not in STRONG_KINDS or params.is_supported is False:
        return f"uses the algorithm {params.kind}, which is not accepted"
    if params.rsa_bits is not None and params.rsa_bits < MIN_RSA_BITS:
        return f"is RSA with {params.rsa_bits} bits; {MIN_RSA_BITS} or more are needed"
    if latest is None:
        return "has no self-signature by SHA-256 or better that says what the key is for"
    return ""


def _expiry(created: int, latest: Signature | None) -> datetime | None:
    seconds = latest.key_expiration_time() if latest is not None else None
    return at(created + seconds) if seconds else None


def _key_id(certificate: SignedPublicKey, part: Part) -> str:
    return (part.subkey.key.key_id if part.subkey else certificate.key_id).upper()


def at(seconds: int) -> datetime:
    """An OpenPGP time as ours."""
    return datetime.fromtimestamp(seconds, UTC)
