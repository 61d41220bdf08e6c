"""What the pages call things: the words of states, kinds and reasons, marked for translation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from counterfoil.dashboard.words import C_, N_
from counterfoil.ids import format_id
from counterfoil.linkage.uplift import NO_HOLDOUT, RANDOM, TARGETED
from counterfoil.linkage.uplift import UNKNOWN as UNKNOWN_ASSIGNMENT

STEPS: Final[dict[str, str]] = {
    "addressed": N_("Addressed"),
    "exposed": N_("Exposed"),
    "issued": N_("Issued"),
    "bought": N_("Bought"),
    "redeemed": N_("Redeemed"),
    "revenue": N_("Revenue"),
}
STEP_MEANINGS: Final[dict[str, str]] = {
    "addressed": N_("Customers whom a campaign chose and did not hold out, counted once for each campaign."),
    "exposed": N_("Visitors in the log of the campaign's pages, counted once for each campaign."),
    "issued": N_("Vouchers that came into somebody's hands, given or bought."),
    "bought": N_("Issued vouchers whose purchase order and payment were found."),
    "redeemed": N_("Vouchers that were redeemed at least once."),
    "revenue": N_("What was paid in the transactions of redemptions, each transaction counted once."),
}
RATE_MEANING: Final = N_("Vouchers redeemed out of those issued.")
UNKNOWN: Final[dict[str, str]] = {
    "no_line": N_("Recorded after the latest analysis."),
    "no_audience": N_("No audience is recorded."),
    "no_page_log": N_("No page views were recorded."),
    "not_in_page_log": N_("The page log has no view of this campaign's pages."),
    "no_issuance": N_("Vouchers were redeemed, but no issuance of them is recorded."),
    "bought_unknown": N_("Without issuances it is not known whether vouchers were bought."),
    "nothing_redeemed": N_("Nothing was redeemed yet."),
    "nothing_issued": N_("Nothing was issued yet."),
    "no_payment": N_("No redemption leads to a payment."),
    "no_discount": N_("No redemption says what was taken off."),
    "no_times": N_("No redeemed voucher has both a time of issuance and one of redemption."),
    "not_comparable": N_("Its two sides are not known for the same vouchers."),
}

UPLIFT_REASONS: Final[dict[str, str]] = {
    NO_HOLDOUT: N_(
        "Nobody was held out, so what these customers would have done without the campaign is not known."
    ),
    TARGETED: N_(
        "The customers were chosen, not drawn at random: those addressed differ from those who were not, so "
        "the difference shows who was chosen as well as what the campaign did."
    ),
    UNKNOWN_ASSIGNMENT: N_(
        "How customers came into the groups is not recorded; without random assignment a difference is no "
        "effect."
    ),
    RANDOM: N_(
        "The groups were drawn at random, so the difference is the effect of the campaign, within its "
        "interval."
    ),
}
"""What `counterfoil.uplift` says of a comparison, to be translated."""

BREAKS: Final[dict[str, str]] = {
    "orphan_redemption": N_("Redemption without issuance"),
    "missing_order": N_("Order missing"),
    "missing_transaction": N_("Transaction missing"),
    "no_transaction_id": N_("No transaction named"),
    "redeemed_before_issued": N_("Redeemed before issued"),
    "redeemed_twice": N_("Redeemed too often"),
    "amount_mismatch": N_("Amounts differ"),
}
BREAK_MEANINGS: Final[dict[str, str]] = {
    "orphan_redemption": N_("A voucher was redeemed of which no issuance is recorded."),
    "missing_order": N_("The issuance says that an order bought the voucher; that order is not recorded."),
    "missing_transaction": N_("A payment is named that is not recorded."),
    "no_transaction_id": N_("The redemption does not say with which payment it happened."),
    "redeemed_before_issued": N_("The redemption is dated before the issuance."),
    "redeemed_twice": N_("The voucher was redeemed more often than it may be."),
    "amount_mismatch": N_("The orders of the payment add up to another amount than was paid."),
}
SOURCES: Final[dict[str, str]] = {"issuances": N_("Issuance"), "redemptions": N_("Redemption")}

LINKS: Final[dict[str, tuple[str, str, str]]] = {
    "complete": ("good", N_("Link complete"), N_("Redeemed, and every record it names was found.")),
    "open": ("calm", N_("Link open"), N_("Not redeemed so far, and every record it names was found.")),
    "incomplete": ("warn", N_("Link incomplete"), N_("At least one record that it names is missing.")),
    "orphan": ("bad", N_("Orphan"), N_("It was redeemed, and no issuance of it is recorded.")),
}
"""Link status to tone, name and meaning."""
VOUCHER_STATES: Final[dict[str, tuple[str, str]]] = {
    "redeemed": ("good", C_("a voucher", "Redeemed")),
    "expired": ("calm", C_("a voucher", "Expired")),
    "issued": ("info", C_("a voucher", "Issued")),
    "available": ("calm", C_("a voucher", "Available")),
}

EVIDENCE_STATUSES: Final[dict[str, str]] = {
    "linked": N_("Linked on evidence"),
    "ambiguous": N_("Ambiguous: several payments fit equally well, so none was picked"),
    "unmatched": N_("No payment of this customer on that day"),
}
NAMED_BY_SOURCE: Final = N_("The record names the payment itself.")
EVIDENCE: Final[dict[int, str]] = {
    4: N_("The same customer, the same day, and an eligible product with a voucher discount on it."),
    3: N_("The same customer, the same day, an eligible product, and a voucher discount beside it."),
    2: N_("The same customer, the same day, an eligible product, and no voucher discount."),
    1: N_("The same customer, the same day, a voucher discount, and no eligible product."),
    0: N_("Only the customer and the day."),
}

GRADES: Final[dict[str, str]] = {
    "vip": N_("VIP"),
    "regular": N_("Regular"),
    "key_prospect": N_("Key prospect"),
    "prospect": N_("Prospect"),
    "weak_prospect": N_("Weak prospect"),
    "non_prospect": N_("Non-prospect"),
}
BREAKDOWNS: Final[dict[str, str]] = {
    "store": N_("By store"),
    "channel": N_("By channel"),
    "grade": N_("By customer grade"),
}
NOT_NAMED: Final[dict[str, str]] = {
    "store": N_("No store named"),
    "channel": N_("No channel named"),
    "grade": N_("Not graded"),
}
PERIODS: Final[dict[str, str]] = {"day": N_("by day"), "week": N_("by week"), "month": N_("by month")}


@dataclass(frozen=True)
class JobWords:
    """What the page of a job says."""

    title: str
    failed: str
    states: dict[str, str]


_JOB_STATES: Final[dict[str, str]] = {
    "queued": N_("Waiting for a worker"),
    "running": N_("Reading, linking and counting"),
    "succeeded": N_("Done"),
    "failed": N_("It failed"),
}
JOBS: Final[dict[str, JobWords]] = {
    "analysis": JobWords(N_("Campaigns are being analysed"), N_("The analysis failed"), _JOB_STATES),
    "codes": JobWords(
        N_("Codes are being made"),
        N_("The codes could not be made"),
        {**_JOB_STATES, "running": N_("Making codes")},
    ),
}
"""By the kind of job."""
THEMES: Final[dict[str, str]] = {"auto": N_("As the device"), "light": N_("Light"), "dark": N_("Dark")}
VOUCHER_FILTERS: Final[dict[str, str]] = {
    "all": N_("All"),
    "redeemed": C_("a voucher", "Redeemed"),
    "open": N_("Not redeemed"),
}

DELIVERY_STATES: Final[dict[str, tuple[str, str]]] = {
    "waiting": ("info", C_("a message", "Waiting")),
    "delivered": ("good", C_("a message", "Delivered")),
    "failed": ("bad", C_("a message", "Given up")),
}
ENDPOINT_STATES: Final[dict[str, tuple[str, str, str]]] = {
    "enabled": ("good", N_("Enabled"), N_("The last attempt succeeded, or there was none so far.")),
    "trouble": ("warn", N_("Failing"), N_("Messages wait and are tried again.")),
    "by_hand": ("calm", N_("Disabled"), N_("Somebody switched it off. What waits for it stays.")),
    "gone": (
        "bad",
        N_("Disabled"),
        N_("It answered 410 Gone, so nothing is sent to it any more. What waits for it stays."),
    ),
    "failing": (
        "bad",
        N_("Disabled"),
        N_("Every attempt failed for five days, so it was switched off. What waits for it stays."),
    ),
}
"""Endpoint's standing to tone, name and meaning."""
WEBHOOK_DONE: Final[dict[str, str]] = {
    "test": N_("A test is on its way."),
    "enable": N_("It is enabled; what waited for it goes on."),
    "disable": N_("It is disabled; what waits for it stays."),
    "replay": N_("Done."),
    "delete": N_("It is deleted."),
}
"""What came of a button."""
WEBHOOK_PROBLEMS: Final[dict[str, str]] = {
    "webhook_url_forbidden": N_(
        "This cannot be an endpoint. It must be an address of the public internet that begins with https:// "
        "or http://, without user and password."
    ),
    "webhook_endpoints_too_many": N_("This merchant has as many endpoints as it can have; delete one first."),
}

_PROBLEMS: Final[dict[int | str, tuple[str, str]]] = {
    403: (
        N_("This form is out of date"),
        N_("Its page was open for too long, or came from somewhere else. Go back, reload and try again."),
    ),
    404: (
        N_("There is no such page"),
        N_("The address may be mistyped, or what it names is not recorded for this merchant."),
    ),
    405: (N_("This cannot be opened"), N_("This address only takes forms.")),
    422: (N_("That was not understood"), N_("A part of the address or of the form is not valid.")),
    429: (N_("Too many attempts"), N_("Wait a quarter of an hour, and try again.")),
    500: (
        N_("Something went wrong"),
        N_("That is our mistake, and it is in the log under the number below."),
    ),
    503: (
        N_("The database does not answer"),
        N_("Nothing is lost. Try again in a moment; if it stays away, see the log of the server."),
    ),
    "voucher_not_found": (
        N_("There is no such voucher"),
        N_("This merchant has no voucher, issuance or redemption with this code."),
    ),
    "campaign_not_found": (
        N_("There is no such campaign"),
        N_("This merchant has no campaign with this id."),
    ),
    "webhook_endpoint_not_found": (
        N_("There is no such endpoint"),
        N_("It may have been deleted, or the address may be mistyped."),
    ),
    "webhook_delivery_not_found": (
        N_("There is no such delivery"),
        N_("Deliveries are kept for 30 days, and no longer than their endpoint."),
    ),
    "webhook_endpoint_disabled": (N_("The endpoint is disabled"), N_("Enable it first, and try again.")),
    "points_account_not_found": (
        N_("There is no such member"),
        N_("This customer has no points account here; open one on the page of points."),
    ),
    "transfer_not_found": (N_("There is no such transfer"), N_("The member has no transfer with this id.")),
    "partner_not_found": (
        N_("There is no such partner"),
        N_("This merchant has no partner with this id."),
    ),
    "partner_key_not_found": (
        N_("There is no such key"),
        N_("The partner has no key with this fingerprint."),
    ),
    "own_key_not_found": (N_("There is no such key"), N_("It has not been made yet.")),
    "partner_file_not_found": (
        N_("There is no such file"),
        N_("This merchant has no file with this id, or the file has no response yet."),
    ),
    "partner_file_not_answered": (
        N_("There is no response yet"),
        N_("It is made as soon as every record is decided."),
    ),
    "merchant_not_found": (N_("There is no such merchant"), N_("The address may be mistyped.")),
    "timed_out": (N_("That took too long"), N_("Ask for less: a longer code or a narrower filter.")),
}


def problem(status: int, code: str = "") -> tuple[str, str]:
    """The title and the advice for an error, by its code or else by its status."""
    found = _PROBLEMS.get(code) or _PROBLEMS.get(status)
    return found or _PROBLEMS[500 if status >= 500 else 422]


def job_id(value: UUID) -> str:
    """A job's public id, for its address."""
    return format_id("job", value)
