"""Records of campaigns, audiences, vouchers, issuances and redemptions, as voucher systems send them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from counterfoil.db.records import Amount, Attributes, Record, RecordKind, Reference, ShortText, Time
from counterfoil.vouchers import tables
from counterfoil.vouchers.campaign_tables import campaign_counters
from counterfoil.vouchers.types import Assignment, EvidenceStatus, Group, Precision


class CampaignRecord(Record):
    """A campaign; its period is half-open."""

    campaign_id: Reference
    name: ShortText | None = None
    kind: ShortText | None = None
    starts_at: Time | None = None
    ends_at: Time | None = None
    attributes: Attributes | None = None


class TemplateRecord(Record):
    """What vouchers of a campaign are good for."""

    template_id: Reference
    campaign_id: Reference
    name: ShortText | None = None
    attributes: Attributes | None = None


class TemplateProductRecord(Record):
    """A product that vouchers of a template can be used on."""

    template_id: Reference
    product_id: Reference


class AudienceRecord(Record):
    """A customer whom a campaign addressed (`treatment`) or held out (`holdout`)."""

    campaign_id: Reference
    customer_id: Reference
    group: Group | None = None
    assignment: Assignment | None = None
    channel: ShortText | None = None


class VoucherRecord(Record):
    """A voucher that exists. `max_redemptions` null: unlimited."""

    voucher_id: Reference
    campaign_id: Reference
    template_id: Reference | None = None
    valid_from: Time | None = None
    valid_until: Time | None = None
    max_redemptions: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class IssuanceRecord(Record):
    """A voucher was issued; with an `order_id` it was bought."""

    voucher_id: Reference
    campaign_id: Reference | None = None
    customer_id: Reference | None = None
    issued_at: Time
    issued_at_precision: Precision | None = None
    channel: ShortText | None = None
    store_id: Reference | None = None
    order_id: Reference | None = None


class RedemptionRecord(Record):
    """A voucher was redeemed, on the transaction that its source, or the evidence, names."""

    redemption_id: Reference
    voucher_id: Reference
    customer_id: Reference | None = None
    redeemed_at: Time
    redeemed_at_precision: Precision | None = None
    transaction_id: Reference | None = None
    store_id: Reference | None = None
    discount_minor: Amount | None = None
    evidence_level: Annotated[int, Field(ge=0, le=4)] | None = None
    evidence_status: EvidenceStatus | None = None


_OUR_CAMPAIGN: Final = f"""EXISTS (SELECT FROM {campaign_counters.name} c
    WHERE c.merchant_id = :merchant_id AND c.campaign_id = s.campaign_id)"""
_OUR_VOUCHER: Final = f"""EXISTS (SELECT FROM {tables.vouchers.name} v
    WHERE v.merchant_id = :merchant_id AND v.voucher_id = s.voucher_id AND v.state IS NOT NULL)"""

CAMPAIGNS: Final = RecordKind(
    "campaigns",
    tables.campaigns,
    CampaignRecord,
    key=("campaign_id",),
    same_key="update",
    managed=_OUR_CAMPAIGN,
)
TEMPLATES: Final = RecordKind(
    "voucher_templates", tables.voucher_templates, TemplateRecord, key=("template_id",), same_key="update"
)
TEMPLATE_PRODUCTS: Final = RecordKind(
    "template_products",
    tables.template_products,
    TemplateProductRecord,
    key=("template_id", "product_id"),
    same_key="keep",
)
AUDIENCE: Final = RecordKind(
    "audience", tables.audience, AudienceRecord, key=("campaign_id", "customer_id"), same_key="update"
)
VOUCHERS: Final = RecordKind(
    "vouchers",
    tables.vouchers,
    VoucherRecord,
    key=("voucher_id",),
    same_key="update",
    announce="voucher_id",
    managed=f"{_OUR_VOUCHER} OR {_OUR_CAMPAIGN}",
)
ISSUANCES: Final = RecordKind(
    "issuances",
    tables.issuances,
    IssuanceRecord,
    key=("voucher_id",),
    same_key="keep",
    announce="voucher_id",
    managed=_OUR_VOUCHER,
)
REDEMPTIONS: Final = RecordKind(
    "redemptions",
    tables.redemptions,
    RedemptionRecord,
    key=("redemption_id",),
    same_key="keep",
    announce="voucher_id",
    managed=_OUR_VOUCHER,
)
