"""The partners of a merchant: how each stands, and what needs a look."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from starlette.responses import Response

from counterfoil.dashboard import points_file_labels, points_partner_labels
from counterfoil.dashboard.visits import Visit
from counterfoil.db.transactions import ReadTx, read
from counterfoil.errors import CounterfoilError
from counterfoil.ids import format_id
from counterfoil.points.files import keys, openpgp, partners, queries
from counterfoil.points.files.keys import PublicKey
from counterfoil.points.files.openpgp import KeyFacts
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.queries import FileItem

SOON: Final = timedelta(days=30)
"""A key that ends within this time is told of."""


@dataclass(frozen=True, slots=True)
class KeyShown:
    """A key of a partner, with what is written in it. `facts` is None for SSH keys."""

    key: PublicKey
    facts: KeyFacts | None
    now: datetime

    @property
    def name(self) -> str:
        """Whom it says that it belongs to."""
        return self.facts.user_ids[0] if self.facts and self.facts.user_ids else ""

    @property
    def expires_at(self) -> datetime | None:
        """When it ends; None: it does not."""
        return self.facts.expires_at if self.facts else None

    @property
    def standing(self) -> str:
        """`retired`, `expired`, `ending` or `good`."""
        if self.key.retired_at is not None:
            return "retired"
        if self.expires_at is None or self.expires_at > self.now + SOON:
            return "good"
        return "ending" if self.expires_at > self.now else "expired"


@dataclass(frozen=True, slots=True)
class PartnerShown:
    """A partner in the list."""

    partner: Partner
    last: FileItem | None
    keys: list[KeyShown]

    @property
    def needs(self) -> list[str]:
        """What keeps its files from being opened or answered, or soon will."""
        used = [shown for shown in self.keys if shown.key.kind == "openpgp" and shown.standing != "retired"]
        found = []
        if not any(shown.standing in {"good", "ending"} for shown in used):
            found.append("expired" if used else "no_key")
        elif not any(shown.standing == "good" for shown in used):
            found.append("ending")
        if self.partner.collect_error and self.partner.terms.server:
            found.append("server")
        return found


def shown_key(key: PublicKey, now: datetime) -> KeyShown:
    """A key with what is written in it."""
    facts = None
    if key.kind == "openpgp":
        try:
            facts = openpgp.read_key(key.public_key, now=now)
        except CounterfoilError:
            facts = None  # It was pinned by another version of the platform; what it says is not known.
    return KeyShown(key, facts, now)


async def last_file(tx: ReadTx, partner: Partner) -> FileItem | None:
    """The file that came last from a partner."""
    page = await queries.list_files(
        tx, merchant_id=partner.merchant_id, partner_id=partner.partner_id, limit=1
    )
    return page.data[0] if page.data else None


def file_id(item: FileItem) -> str:
    """The public id of a file."""
    return format_id("partner_file", item.file.file_id)


async def show(visit: Visit) -> Response:
    """All partners: there are few."""
    found = []
    async with read(visit.engine) as tx:
        for partner in await partners.list_all(tx, merchant_id=visit.merchant.id):
            pinned = await keys.list_of(tx, merchant_id=partner.merchant_id, partner_id=partner.partner_id)
            shown = [shown_key(key, visit.now) for key in pinned]
            found.append(PartnerShown(partner, await last_file(tx, partner), shown))
    return visit.render(
        "points_partners.html",
        partners=found,
        file_id=file_id,
        of_partners=points_partner_labels,
        of_files=points_file_labels,
        section="points",
    )
