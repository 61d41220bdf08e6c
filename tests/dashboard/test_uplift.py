from __future__ import annotations

from typing import Any

import pytest
from tests.dashboard.conftest import Pages, fill

from counterfoil.dashboard.labels import UPLIFT_REASONS
from counterfoil.linkage.uplift import NO_HOLDOUT, RANDOM, TARGETED, UNKNOWN

PEOPLE = 40


def _records(assignment: str) -> dict[str, list[dict[str, Any]]]:
    """Everybody addressed buys for 10.00, and of those held out every second one does."""
    audience = [
        {
            "campaign_id": "spring",
            "customer_id": f"c{n}",
            "group": "holdout" if n >= PEOPLE else "treatment",
            "assignment": assignment,
        }
        for n in range(2 * PEOPLE)
    ]
    payments = [
        {
            "transaction_id": f"t{n}",
            "customer_id": f"c{n}",
            "paid_at": "2026-04-02T10:00:00Z",
            "amount_minor": 1000,
        }
        for n in range(2 * PEOPLE)
        if n < PEOPLE or n % 2
    ]
    campaign = {
        "campaign_id": "spring",
        "starts_at": "2026-04-01T00:00:00Z",
        "ends_at": "2026-05-01T00:00:00Z",
    }
    return {"campaigns": [campaign], "audience": audience, "transactions": payments}


async def _page(pages: Pages, records: dict[str, list[dict[str, Any]]]) -> str:
    await fill(pages.app, pages.other, records)
    answer = await pages.client.get("/m/other/campaigns/spring", headers={"Accept-Language": "en"})
    assert answer.status_code == 200
    return answer.text


async def test_what_a_campaign_caused_is_told_with_its_interval(pages: Pages) -> None:
    page = await _page(pages, _records("random"))
    assert UPLIFT_REASONS[RANDOM] in page
    assert "Not an effect." not in page
    caused = page[page.index('id="caused"') : page.index("</section>", page.index('id="caused"'))]
    # Newcombe's interval for 40 of 40 against 20 of 40.
    assert "50" in caused
    assert "between 32.8 and 64.8" in caused
    assert "€5.00" in caused


async def test_a_targeted_comparison_is_never_called_an_effect(pages: Pages) -> None:
    page = await _page(pages, _records("targeted"))
    assert "Not an effect." in page
    assert UPLIFT_REASONS[TARGETED] in page


async def test_without_a_holdout_the_page_says_that_it_cannot_say(pages: Pages) -> None:
    records = _records("random")
    records["audience"] = records["audience"][:PEOPLE]
    assert UPLIFT_REASONS[NO_HOLDOUT] in await _page(pages, records)


@pytest.mark.parametrize("reason", [NO_HOLDOUT, TARGETED, UNKNOWN, RANDOM])
def test_every_reason_of_the_library_has_its_words(reason: str) -> None:
    assert UPLIFT_REASONS[reason] == reason
