"""A merchant with campaigns, and short ways to ask the verbs for something at a chosen time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from counterfoil.db.transactions import Tx
from counterfoil.vouchers import campaigns, counters, pool, verbs
from counterfoil.vouchers.campaigns import Counters, Limits, RunCampaign
from counterfoil.vouchers.requests import REQUESTS, Asked, Outcome
from counterfoil.vouchers.terms import Terms
from counterfoil.vouchers.types import CampaignState, Verb
from tests.builders import NOW, make_merchant

AMOUNT = {"kind": "amount", "amount_minor": 500}
STORED = {"kind": "stored_value", "amount_minor": 1000}


def terms(**said: Any) -> Terms:
    """Five off, and whatever else is said."""
    return Terms.model_validate({"discount": AMOUNT, "time_zone": "UTC", **said})


def asked(merchant_id: UUID, verb: Verb, **said: Any) -> Asked[Any]:
    """A request, checked as the routes check it."""
    return Asked(merchant_id, msgspec.convert(said, REQUESTS[verb]))


def line(line_id: str, amount_minor: int, **said: Any) -> dict[str, Any]:
    """A line of an order."""
    return {"line_id": line_id, "amount_minor": amount_minor, **said}


def reasons(outcome: Outcome) -> list[str]:
    """Every reason why a request was refused."""
    return [reason.code for reason in outcome.reasons]


@dataclass
class World:
    """A merchant, and what time it is there."""

    tx: Tx
    merchant_id: UUID
    now: datetime = NOW

    def later(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)

    async def campaign(
        self,
        campaign_id: str = "c",
        *,
        state: CampaignState = "active",
        stock: int | None = None,
        budget_minor: int | None = None,
        max_redemptions: int | None = None,
        **said: Any,
    ) -> RunCampaign:
        """A campaign with these limits; what else is said stands in its terms."""
        await campaigns.create(
            self.tx,
            merchant_id=self.merchant_id,
            campaign_id=campaign_id,
            name=None,
            kind=None,
            attributes={},
            terms=terms(**said),
            limits=Limits(stock, budget_minor, max_redemptions),
            now=self.now,
        )
        if state not in {"draft", "active"}:
            await self.move("active", campaign_id)
        return await (self.get(campaign_id) if state == "draft" else self.move(state, campaign_id))

    async def move(self, to: CampaignState, campaign_id: str = "c") -> RunCampaign:
        """Bring a campaign into another state."""
        return await campaigns.move(
            self.tx, merchant_id=self.merchant_id, campaign_id=campaign_id, to=to, now=self.now
        )

    async def change(self, campaign_id: str = "c", **said: Any) -> RunCampaign:
        """Change limits, terms or words of a campaign."""
        return await campaigns.change(
            self.tx, merchant_id=self.merchant_id, campaign_id=campaign_id, now=self.now, **said
        )

    async def get(self, campaign_id: str = "c") -> RunCampaign:
        """A campaign as it is now."""
        return await campaigns.get(self.tx, merchant_id=self.merchant_id, campaign_id=campaign_id)

    async def counters(self, campaign_id: str = "c") -> Counters:
        """Its counters now."""
        return await counters.read_counters(self.tx, merchant_id=self.merchant_id, campaign_id=campaign_id)

    async def bring(self, *codes: str, campaign_id: str = "c") -> None:
        """Make these codes available."""
        await pool.bring(
            self.tx, merchant_id=self.merchant_id, campaign_id=campaign_id, brought=codes, now=self.now
        )

    async def batch(self, verb: Verb, *requests: dict[str, Any]) -> list[Outcome]:
        """Several requests of one verb, in one batch."""
        batch = [asked(self.merchant_id, verb, **said) for said in requests]
        return await verbs.run(self.tx, verb, batch, now=self.now)

    async def ask(self, verb: Verb, **said: Any) -> Outcome:
        """One request."""
        return (await self.batch(verb, said))[0]

    async def claim(self, campaign_id: str = "c", **said: Any) -> Outcome:
        """A customer claims a voucher."""
        return await self.ask("claim", campaign_id=campaign_id, **said)

    async def voucher(self, campaign_id: str = "c", **said: Any) -> str:
        """The code of a voucher that was just handed out."""
        outcome = await self.ask("issue", campaign_id=campaign_id, **said)
        assert outcome.voucher is not None, outcome
        return outcome.voucher.voucher_id

    async def reserve(self, voucher_id: str, order_id: str = "o", **said: Any) -> Outcome:
        """Reserve a voucher for an order of ten, unless something else is said."""
        return await self.ask("reserve", voucher_id=voucher_id, order_id=order_id, **_cost(said))

    async def redeem(self, voucher_id: str, order_id: str | None = "o", **said: Any) -> Outcome:
        """Redeem a voucher on an order of ten, unless something else is said."""
        return await self.ask("redeem", voucher_id=voucher_id, order_id=order_id, **_cost(said))

    async def validate(self, voucher_id: str, order_id: str | None = "o", **said: Any) -> Outcome:
        """Ask what a voucher would take off an order of ten, unless something else is said."""
        return await self.ask("validate", voucher_id=voucher_id, order_id=order_id, **_cost(said))

    async def release(self, reserved: Outcome) -> Outcome:
        """Give back what was reserved."""
        assert reserved.reservation is not None, reserved
        return await self.ask("release", reservation_id=reserved.reservation.reservation_id)

    async def reverse(self, redeemed: Outcome, *lines: str) -> Outcome:
        """Reverse a redemption, or the lines that are named."""
        assert redeemed.redemption is not None, redeemed
        said: dict[str, Any] = {"line_ids": lines} if lines else {}
        return await self.ask("reverse", redemption_id=redeemed.redemption.redemption_id, **said)

    async def void(self, voucher_id: str, **said: Any) -> Outcome:
        """Void a voucher."""
        return await self.ask("void", voucher_id=voucher_id, **{"reason": "a test", **said})

    async def state_of(self, voucher_id: str) -> str:
        """The state of a voucher, as it stands in the table."""
        state = await self.tx.scalar(
            "SELECT state FROM vouchers WHERE merchant_id = :m AND voucher_id = :v",
            {"m": self.merchant_id, "v": voucher_id},
        )
        return str(state)


def _cost(said: dict[str, Any]) -> dict[str, Any]:
    return said if {"amount_minor", "lines"} & said.keys() else {"amount_minor": 1000, **said}


async def make_world(tx: Tx, *, now: datetime = NOW) -> World:
    """A new merchant without campaigns."""
    return World(tx, await make_merchant(tx), now)


async def differences(tx: Tx, merchant_id: UUID) -> list[Any]:
    """Where any counter of any campaign of a merchant says something else than the rows."""
    rows = await tx.all(
        "SELECT campaign_id FROM campaign_counters WHERE merchant_id = :m", {"m": merchant_id}
    )
    found: list[Any] = []
    for row in rows:
        found += await counters.verify(tx, merchant_id=merchant_id, campaign_id=row.campaign_id)
    return found
