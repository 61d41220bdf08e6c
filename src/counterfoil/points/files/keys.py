"""Keys: the partners' public ones, which are pinned, and our own.

The database keeps our secret keys as it keeps the secrets of webhooks: who may read it, or a copy of it, may
sign as us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from counterfoil.db.transactions import ReadTx, Tx
from counterfoil.errors import ConflictError, InvalidError, NotFoundError
from counterfoil.points.files import openpgp, ssh_keys
from counterfoil.points.files.types import KeyKind


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of a partner, or of ours."""

    fingerprint: str
    kind: KeyKind
    public_key: str
    added_at: datetime
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of ours with its secret."""

    fingerprint: str
    kind: KeyKind
    secret_key: str
    public_key: str


_PUBLIC: Final = "fingerprint, kind, public_key, added_at, retired_at"


def read_public(kind: KeyKind, text: str, *, now: datetime) -> tuple[str, str]:
    """The fingerprint of a partner's key and the text to keep; `InvalidError` for what is none, or weak."""
    if kind == "ssh":
        line = ssh_keys.public_line(ssh_keys.read_public_key(text))
        return ssh_keys.fingerprint(line), line
    facts = openpgp.read_key(text, now=now)
    if facts.secret:
        raise InvalidError(
            "This is a secret key, which its owner must keep. Give the public one.", code="key_secret"
        )
    openpgp.check_key(facts, now=now)
    return facts.fingerprint, text.strip() + "\n"


async def add(
    tx: Tx, *, merchant_id: UUID, partner_id: str, kind: KeyKind, text: str, now: datetime
) -> PublicKey:
    """Pin a public key of a partner; one that was retired, or has got a later end, is in use again."""
    fingerprint, public_key = read_public(kind, text, now=now)
    row = await tx.first(
        f"""INSERT INTO points_partner_keys (merchant_id, partner_id, fingerprint, kind, public_key,
                                              added_at)
            VALUES (:merchant_id, :partner_id, :fingerprint, :kind, :public_key, :now)
            ON CONFLICT (merchant_id, partner_id, fingerprint)
            DO UPDATE SET public_key = excluded.public_key, retired_at = NULL
            RETURNING {_PUBLIC}""",
        {
            "merchant_id": merchant_id,
            "partner_id": partner_id,
            "fingerprint": fingerprint,
            "kind": kind,
            "public_key": public_key,
            "now": now,
        },
    )
    assert row is not None
    return PublicKey(**row._mapping)


async def retire(tx: Tx, *, merchant_id: UUID, partner_id: str, fingerprint: str, now: datetime) -> PublicKey:
    """Trust a key no longer. `NotFoundError` (`partner_key_not_found`)."""
    row = await tx.first(
        f"""UPDATE points_partner_keys SET retired_at = coalesce(retired_at, :now)
            WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND fingerprint = :fingerprint
            RETURNING {_PUBLIC}""",
        {"merchant_id": merchant_id, "partner_id": partner_id, "fingerprint": fingerprint, "now": now},
    )
    if row is None:
        raise NotFoundError(
            f"The partner has no key {fingerprint!r}; list its keys for their fingerprints.",
            code="partner_key_not_found",
        )
    return PublicKey(**row._mapping)


async def list_of(tx: ReadTx, *, merchant_id: UUID, partner_id: str) -> list[PublicKey]:
    """All keys of a partner, newest first."""
    rows = await tx.all(
        f"""SELECT {_PUBLIC} FROM points_partner_keys
            WHERE merchant_id = :merchant_id AND partner_id = :partner_id
            ORDER BY added_at DESC, fingerprint""",
        {"merchant_id": merchant_id, "partner_id": partner_id},
    )
    return [PublicKey(**row._mapping) for row in rows]


async def in_use(tx: ReadTx, *, merchant_id: UUID, partner_id: str, kind: KeyKind) -> list[str]:
    """The public keys of a partner that are trusted, the newest first."""
    rows = await tx.all(
        """SELECT public_key FROM points_partner_keys
           WHERE merchant_id = :merchant_id AND partner_id = :partner_id AND kind = :kind
             AND retired_at IS NULL ORDER BY added_at DESC, fingerprint""",
        {"merchant_id": merchant_id, "partner_id": partner_id, "kind": kind},
    )
    return [row.public_key for row in rows]


async def own(tx: ReadTx, *, merchant_id: UUID, kind: KeyKind) -> list[OwnKey]:
    """Our keys that are in use, the newest first: it signs, and all of them open."""
    rows = await tx.all(
        """SELECT fingerprint, kind, secret_key, public_key FROM points_own_keys
           WHERE merchant_id = :merchant_id AND kind = :kind AND retired_at IS NULL
           ORDER BY made_at DESC, fingerprint""",
        {"merchant_id": merchant_id, "kind": kind},
    )
    return [OwnKey(**row._mapping) for row in rows]


async def list_own(tx: ReadTx, *, merchant_id: UUID) -> list[PublicKey]:
    """The public parts of our keys, newest first."""
    rows = await tx.all(
        """SELECT fingerprint, kind, public_key, made_at AS added_at, retired_at FROM points_own_keys
           WHERE merchant_id = :merchant_id ORDER BY made_at DESC, fingerprint""",
        {"merchant_id": merchant_id},
    )
    return [PublicKey(**row._mapping) for row in rows]


async def client_key(tx: ReadTx, *, merchant_id: UUID) -> str:
    """The private key that we sign in with at partners' servers. `ConflictError` (`own_key_missing`)."""
    found = await own(tx, merchant_id=merchant_id, kind="ssh")
    if not found:
        raise ConflictError("We have no key to sign in with; make one first.", code="own_key_missing")
    return found[0].secret_key


async def make(tx: Tx, *, merchant_id: UUID, kind: KeyKind, name: str, now: datetime) -> OwnKey:
    """A new key of ours, used from now on; the ones before still open what was made for them."""
    if kind == "ssh":
        secret, public = ssh_keys.make_ssh_key(name)
        fingerprint = ssh_keys.fingerprint(public)
    else:
        pair = await asyncio.to_thread(openpgp.make_key, name, now=now)
        secret, public, fingerprint = pair.secret, pair.public, pair.fingerprint
    await tx.execute(
        """INSERT INTO points_own_keys (merchant_id, fingerprint, kind, secret_key, public_key, made_at)
           VALUES (:merchant_id, :fingerprint, :kind, :secret, :public, :now)""",
        {
            "merchant_id": merchant_id,
            "fingerprint": fingerprint,
            "kind": kind,
            "secret": secret,
            "public": public,
            "now": now,
        },
    )
    return OwnKey(fingerprint, kind, secret, public)


async def ensure(tx: Tx, *, merchant_id: UUID, name: str, now: datetime) -> None:
    """Make the keys that we do not have yet: one to sign and open with, one to sign in with."""
    await tx.scalar("SELECT id FROM merchants WHERE id = :id FOR NO KEY UPDATE", {"id": merchant_id})
    kinds: Sequence[KeyKind] = ("openpgp", "ssh")
    for kind in kinds:
        if not await own(tx, merchant_id=merchant_id, kind=kind):
            await make(tx, merchant_id=merchant_id, kind=kind, name=name, now=now)


async def retire_own(tx: Tx, *, merchant_id: UUID, fingerprint: str, now: datetime) -> None:
    """Use a key of ours no longer: what was made for it cannot be opened any more.

    Raises `NotFoundError` (`own_key_not_found`), `ConflictError` (`own_key_last`).
    """
    kind = await tx.scalar(
        """UPDATE points_own_keys SET retired_at = coalesce(retired_at, :now)
           WHERE merchant_id = :merchant_id AND fingerprint = :fingerprint RETURNING kind""",
        {"merchant_id": merchant_id, "fingerprint": fingerprint, "now": now},
    )
    if kind is None:
        raise NotFoundError(f"We have no key {fingerprint!r}.", code="own_key_not_found")
    if not await own(tx, merchant_id=merchant_id, kind=kind):
        raise ConflictError("It is the only key of its kind; make another one first.", code="own_key_last")
