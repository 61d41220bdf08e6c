"""How campaigns are asked for, by programs and from the command line."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from counterfoil.db.records import Attributes, ShortText
from counterfoil.vouchers.campaigns import Limits
from counterfoil.vouchers.terms import Minor, Terms

CAMPAIGN_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Ids of campaigns that are run here, such as stand in a path without more ado."""

Stock = Annotated[Minor | None, Field(description="Vouchers that may be handed out; null: unlimited.")]
Budget = Annotated[
    Minor | None, Field(description="What all discounts together may cost, in minor units; null: unlimited.")
]
MaxRedemptions = Annotated[
    Minor | None, Field(description="Redemptions of all vouchers together; null: unlimited.")
]


class CampaignTerms(Terms):
    """What a campaign promises; its time zone may be left out."""

    time_zone: Annotated[
        str, Field(max_length=80, description="An IANA name; left out, the merchant's, or what it was.")
    ] = Field(default_factory=str)

    def in_zone(self, default: str) -> Terms:
        """The terms, in the time zone that they name or else in this one."""
        said = {name: getattr(self, name) for name in Terms.model_fields}
        return Terms.model_validate({**said, "time_zone": self.time_zone or default})


class NewCampaign(BaseModel):
    """A campaign to be. It begins as a draft."""

    model_config = ConfigDict(extra="forbid")

    campaign_id: Annotated[str, Field(pattern=CAMPAIGN_ID, examples=["spring-2026"])]
    name: ShortText | None = None
    kind: Annotated[ShortText | None, Field(description="Your own word for this sort of campaign.")] = None
    attributes: Attributes = {}
    stock: Stock = None
    budget_minor: Budget = None
    max_redemptions: MaxRedemptions = None
    terms: CampaignTerms

    @property
    def limits(self) -> Limits:
        """How much of it there is."""
        return Limits(self.stock, self.budget_minor, self.max_redemptions)


class CampaignChange(BaseModel):
    """What to change; what is left out stays, and a limit that is null is none."""

    model_config = ConfigDict(extra="forbid")

    name: ShortText | None = None
    kind: ShortText | None = None
    attributes: Attributes = {}
    stock: Stock = None
    budget_minor: Budget = None
    max_redemptions: MaxRedemptions = None
    terms: Annotated[CampaignTerms | None, Field(description="All terms, in place of those before.")] = None

    @model_validator(mode="after")
    def _terms_are_something(self) -> Self:
        if "terms" in self.model_fields_set and self.terms is None:
            raise ValueError("terms cannot be null; leave them out to keep them")
        return self

    @property
    def words(self) -> dict[str, Any]:
        """The words that are to change."""
        return self._said("name", "kind", "attributes")

    @property
    def limits(self) -> dict[str, int | None]:
        """The limits that are to change."""
        return self._said("stock", "budget_minor", "max_redemptions")

    def _said(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if name in self.model_fields_set}
