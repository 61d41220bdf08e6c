"""The full link, case by case, on every engine."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import counterfoil
from counterfoil.linkage.errors import (
    ColumnMapError,
    ColumnTypeError,
    FrameKindError,
    LinkageError,
    MissingColumnError,
)
from counterfoil.linkage.types import FIELDS, LINK_COLUMNS, Source
from tests.linkage import reference
from tests.linkage.engines import ENGINES, Engine, arrow, sort_rows
from tests.linkage.worlds import Row, Tables, at, world


def _everything() -> Tables:
    """Each rule of the full link at least once."""
    return world(
        issuances=[
            {"voucher_id": "given", "issued_at": at(0), "campaign_id": "c", "store_id": "001"},
            {"voucher_id": "bought", "issued_at": at(0), "order_id": "o1"},
            {"voucher_id": "bought-too", "issued_at": at(1), "order_id": "o1"},
            {"voucher_id": "issued-twice", "issued_at": at(2), "campaign_id": "second"},
            {"voucher_id": "issued-twice", "issued_at": at(1), "campaign_id": "first"},
            {"voucher_id": "order-lost", "issued_at": at(0), "order_id": "o-lost"},
            {"voucher_id": "payment-lost", "issued_at": at(0), "order_id": "o2"},
            {"voucher_id": None, "issued_at": at(0), "order_id": "o1"},
            {"voucher_id": None, "issued_at": at(0)},
        ],
        redemptions=[
            {"voucher_id": "given", "redeemed_at": at(5), "redemption_id": "r2", "transaction_id": "t2"},
            {"voucher_id": "given", "redeemed_at": at(4), "redemption_id": "r1", "transaction_id": "t2"},
            {"voucher_id": "given", "redeemed_at": at(4), "redemption_id": "r1", "transaction_id": "t2"},
            {"voucher_id": "bought", "redeemed_at": at(6), "redemption_id": "r3", "transaction_id": "t3"},
            {"voucher_id": "bought", "redeemed_at": at(7), "redemption_id": "r3b", "transaction_id": "t4"},
            {"voucher_id": "unheard-of", "redeemed_at": at(6), "redemption_id": "r4", "transaction_id": "t2"},
            {"voucher_id": None, "redeemed_at": at(6), "redemption_id": "r5", "transaction_id": "t-lost"},
            {
                "voucher_id": "issued-twice",
                "redeemed_at": at(6),
                "redemption_id": "r6",
                "transaction_id": None,
            },
        ],
        orders=[
            {"order_id": "o1", "transaction_id": "t1", "amount": 1000, "ordered_at": at(0)},
            {"order_id": "o1", "transaction_id": "t4", "amount": 1, "ordered_at": at(3)},
            {"order_id": "o2", "transaction_id": "t-lost-too", "amount": 5, "ordered_at": at(0)},
            {"order_id": "o4", "transaction_id": "t3", "amount": -30, "ordered_at": at(5)},
            {"order_id": "o3", "transaction_id": "t3", "amount": 50, "ordered_at": at(6)},
            {"order_id": "o3", "transaction_id": "t3", "amount": 50, "ordered_at": at(7)},
        ],
        transactions=[
            {"transaction_id": "t1", "amount": 1000, "paid_at": at(0)},
            {"transaction_id": "t2", "amount": -100, "paid_at": at(4)},
            {"transaction_id": "t3", "amount": 20, "paid_at": at(6)},
            {"transaction_id": "t3", "amount": 99, "paid_at": at(7)},
            {"transaction_id": "t4", "amount": 7, "paid_at": at(7)},
        ],
    )


def _link(engine: Engine, tables: Tables) -> list[Row]:
    return engine.rows(counterfoil.link(**engine.frames(tables)))


def test_every_rule_gives_the_same_rows_on_every_engine(engine: Engine) -> None:
    rows = _link(engine, _everything())
    assert all(tuple(row) == LINK_COLUMNS for row in rows)
    assert sort_rows(rows) == sort_rows(reference.link(_everything()))


def _by_redemption(rows: list[Row]) -> dict[Any, Row]:
    return {row["redemption_id"]: row for row in rows if row["redemption_id"] is not None}


def test_a_payment_is_split_over_its_redemptions_to_the_last_unit() -> None:
    rows = _by_redemption(_link(ENGINES["polars"], _everything()))
    assert [rows[name]["transaction_amount"] for name in ("r1", "r2", "r4")] == [-100] * 3
    assert [rows[name]["transaction_amount_allocated"] for name in ("r1", "r2", "r4")] == [-33, -33, -34]


def test_a_purchase_is_split_over_its_vouchers_and_carried_on_the_first_redemption_only() -> None:
    rows = [row for row in _link(ENGINES["polars"], _everything()) if row["purchase_transaction_id"] == "t1"]
    found = {(row["voucher_id"], row["redemption_number"]): row["purchase_amount_allocated"] for row in rows}
    assert found == {("bought", 1): 334, ("bought", 2): 0, (None, None): 333, ("bought-too", None): 333}


def test_a_transaction_with_several_orders_stays_one_row() -> None:
    row = _by_redemption(_link(ENGINES["polars"], _everything()))["r3"]
    assert (row["order_id"], row["order_count"], row["order_amount"]) == ("o3", 2, 20)
    assert row["transaction_amount"] == 20


def test_a_redemption_recorded_twice_counts_once_and_the_first_issuance_wins() -> None:
    rows = _link(ENGINES["polars"], _everything())
    assert sorted(row["redemption_id"] for row in rows if row["voucher_id"] == "given") == ["r1", "r2"]
    assert [row["campaign_id"] for row in rows if row["voucher_id"] == "issued-twice"] == ["first"]


def test_one_redemption_id_for_two_vouchers_is_two_redemptions(fast_engine: Engine) -> None:
    tables = world(
        redemptions=[
            {"voucher_id": voucher, "redeemed_at": at(0), "redemption_id": "receipt", "transaction_id": "t"}
            for voucher in ("a", "b")
        ],
        transactions=[{"transaction_id": "t", "amount": 5}],
    )
    rows = _link(fast_engine, tables)
    assert sorted((row["voucher_id"], row["transaction_amount_allocated"]) for row in rows) == [
        ("a", 3),
        ("b", 2),
    ]


def test_nulls_never_match_nulls(fast_engine: Engine) -> None:
    tables = world(
        issuances=[{"voucher_id": None, "issued_at": at(0)}],
        redemptions=[{"voucher_id": None, "redeemed_at": at(1), "transaction_id": None}],
        orders=[{"order_id": None, "transaction_id": None, "amount": 1}],
        transactions=[{"transaction_id": None, "amount": 1}],
    )
    rows = _link(fast_engine, tables)
    assert sorted((row["issuance_stage"], row["redemption_stage"], row["link_status"]) for row in rows) == [
        ("given", "none", "open"),
        ("issuance_missing", "no_transaction_id", "orphan"),
    ]


def test_empty_frames_give_an_empty_full_link(fast_engine: Engine) -> None:
    result = counterfoil.link(**fast_engine.frames(world()))
    assert fast_engine.rows(result) == []
    assert tuple(fast_engine.read(result).column_names) == LINK_COLUMNS


def test_what_goes_in_comes_out_and_stays_lazy(fast_engine: Engine) -> None:
    frames = fast_engine.frames(_everything())
    result = counterfoil.link(**frames)
    assert type(result) is type(frames["issuances"])


def _numbered(tables: Tables) -> Tables:
    names = sorted(
        {str(row[key]) for rows in tables.values() for row in rows for key in row if key.endswith("_id")}
    )
    # Beyond 2^53, where floats would no longer tell them apart.
    ids = {name: 2**60 + place for place, name in enumerate(names) if name != "None"}
    keys = {field.name for fields in FIELDS.values() for field in fields if field.role == "key"}
    return {
        source: [{k: ids.get(str(v)) if k in keys else v for k, v in row.items()} for row in rows]
        for source, rows in tables.items()
    }


@pytest.mark.parametrize("name", ["duckdb", "polars", "pyarrow"])
def test_huge_integer_keys_stay_exact(name: str) -> None:
    engine, tables = ENGINES[name], _numbered(_everything())
    rows = engine.rows(counterfoil.link(**engine.frames(tables, pa.int64())))
    assert sort_rows(rows) == sort_rows(reference.link(tables))


def test_pandas_keys_that_became_floats_for_want_of_a_value_are_integers_again() -> None:
    engine = ENGINES["pandas"]
    small = {source: [dict(row) for row in rows] for source, rows in _numbered(_everything()).items()}
    for rows in small.values():
        for row in rows:
            row.update(
                {
                    key: value - 2**60
                    for key, value in row.items()
                    if isinstance(value, int) and value >= 2**60
                }
            )
    frames = engine.frames(small, pa.int64())
    assert frames["issuances"]["order_id"].dtype == "float64"
    assert sort_rows(engine.rows(counterfoil.link(**frames))) == sort_rows(reference.link(small))


def test_pandas_keys_too_large_for_floats_are_refused() -> None:
    engine = ENGINES["pandas"]
    with pytest.raises(ColumnTypeError, match="nullable integer"):
        counterfoil.link(**engine.frames(_numbered(_everything()), pa.int64()))


def test_a_key_that_is_a_number_here_and_text_there_is_compared_as_text(fast_engine: Engine) -> None:
    frames = fast_engine.frames(world(issuances=[{"voucher_id": "17", "issued_at": at(0)}]))
    redemptions = [{"voucher_id": 17, "redeemed_at": at(1)}, {"voucher_id": 18, "redeemed_at": at(1)}]
    frames["redemptions"] = fast_engine.make(arrow("redemptions", redemptions, pa.int64()))
    rows = fast_engine.rows(counterfoil.link(**frames))
    assert sorted((row["voucher_id"], row["issuance_stage"]) for row in rows) == [
        ("17", "given"),
        ("18", "issuance_missing"),
    ]


@pytest.mark.parametrize("name", ["duckdb", "polars", "pyarrow"])
def test_decimal_amounts_are_split_to_the_cent(name: str) -> None:
    engine = ENGINES[name]
    tables = world(
        redemptions=[
            {"voucher_id": voucher, "redeemed_at": at(0), "transaction_id": "t"}
            for voucher in ("a", "b", "c")
        ],
        transactions=[{"transaction_id": "t", "amount": 0}],
    )
    frames = engine.frames(tables)
    amount = pa.array([Decimal("-10.00")], pa.decimal128(12, 2))
    frames["transactions"] = engine.make(pa.table({"transaction_id": ["t"], "amount": amount}))
    rows = engine.rows(counterfoil.link(**frames))
    parts = sorted((row["voucher_id"], row["transaction_amount_allocated"]) for row in rows)
    assert parts == [("a", Decimal("-3.33")), ("b", Decimal("-3.33")), ("c", Decimal("-3.34"))]


def test_float_amounts_are_split_evenly() -> None:
    tables = world(
        redemptions=[{"voucher_id": v, "redeemed_at": at(0), "transaction_id": "t"} for v in ("a", "b")],
    )
    frames = ENGINES["polars"].frames(tables)
    frames["transactions"] = pl.DataFrame({"transaction_id": ["t"], "amount": [5.0]})
    rows = ENGINES["polars"].rows(counterfoil.link(**frames))
    assert [row["transaction_amount_allocated"] for row in rows] == [2.5, 2.5]


def test_column_names_can_be_mapped(fast_engine: Engine) -> None:
    tables = _everything()
    frames = fast_engine.frames(tables)
    table = arrow("issuances", tables["issuances"])
    renamed = table.rename_columns(
        ["CouponNo" if name == "voucher_id" else name for name in table.column_names]
    )
    frames["issuances"] = fast_engine.make(renamed.append_column("unused", pa.nulls(len(table))))
    result = counterfoil.link(**frames, columns={"issuances": {"voucher_id": "CouponNo"}})
    assert sort_rows(fast_engine.rows(result)) == sort_rows(reference.link(tables))


def test_times_with_a_zone_keep_it() -> None:
    frames = ENGINES["polars"].frames(world(redemptions=[{"voucher_id": "v", "redeemed_at": None}]))
    moment = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    aware = pl.Series([moment]).dt.convert_time_zone("Europe/Berlin")
    frames = {
        "issuances": pl.DataFrame({"voucher_id": ["v"], "issued_at": aware}),
        "redemptions": pl.DataFrame({"voucher_id": ["v"], "redeemed_at": aware.dt.convert_time_zone("UTC")}),
        "orders": frames["orders"].select("order_id", "transaction_id"),
        "transactions": frames["transactions"].select("transaction_id"),
    }
    result = counterfoil.link(**frames)
    assert result.schema["issued_at"] == pl.Datetime("us", "Europe/Berlin")
    assert result["issued_at"].item() == moment


def _broken(source: Source, table: Any) -> dict[str, Any]:
    frames = ENGINES["pyarrow"].frames(_everything())
    frames[source] = table
    return frames


def test_a_missing_column_names_the_frame_the_column_and_the_way_out() -> None:
    frames = _broken("issuances", pa.table({"CouponNo": ["v"], "issued_at": [at(0)]}))
    with pytest.raises(
        MissingColumnError, match=r"issuances has no column 'voucher_id'; it has CouponNo, issued_at"
    ):
        counterfoil.link(**frames)
    with pytest.raises(
        MissingColumnError, match=r'columns=\{"issuances": \{"voucher_id": "<your column>"\}\}'
    ):
        counterfoil.link(**frames)


@pytest.mark.parametrize(
    ("source", "table", "told"),
    [
        (
            "redemptions",
            {"voucher_id": ["v"], "redeemed_at": ["yesterday"]},
            "redemptions.redeemed_at is of type String",
        ),
        (
            "issuances",
            {"voucher_id": [True], "issued_at": [at(0)]},
            "issuances.voucher_id is of type Boolean",
        ),
        ("issuances", {"voucher_id": [1.5], "issued_at": [at(0)]}, "issuances.voucher_id is of type Float64"),
        ("transactions", {"transaction_id": ["t"], "amount": ["5"]}, "transactions.amount is of type String"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(source: Source, table: dict[str, Any], told: str) -> None:
    with pytest.raises(ColumnTypeError, match=told):
        counterfoil.link(**_broken(source, pa.table(table)))


def test_times_with_and_without_a_zone_do_not_mix() -> None:
    frames = _broken(
        "redemptions", pa.table({"voucher_id": ["v"], "redeemed_at": [at(0).replace(tzinfo=UTC)]})
    )
    with pytest.raises(ColumnTypeError, match=r"redemptions\.redeemed_at have a time zone"):
        counterfoil.link(**frames)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"vouchers": {"voucher_id": "x"}}, "names the frame 'vouchers'"),
        ({"orders": {"voucher_id": "x"}}, "maps orders.voucher_id, not a column of orders"),
        ({"orders": {"order_id": "x"}}, "maps orders.order_id to 'x'; orders has order_id"),
    ],
)
def test_a_wrong_column_map_is_explained(columns: dict[str, dict[str, str]], told: str) -> None:
    with pytest.raises(ColumnMapError, match=told):
        counterfoil.link(**ENGINES["pyarrow"].frames(_everything()), columns=columns)


def test_mixed_kinds_of_frames_are_refused() -> None:
    frames = ENGINES["polars"].frames(_everything())
    frames["orders"] = frames["orders"].lazy()
    with pytest.raises(
        FrameKindError, match=r"issuances is a Polars DataFrame.*orders is a Polars LazyFrame"
    ):
        counterfoil.link(**frames)


@pytest.mark.parametrize("frame", [[{"voucher_id": 1}], None, "issuances.csv"])
def test_what_is_no_frame_is_refused(frame: Any) -> None:
    with pytest.raises(FrameKindError, match="issuances is a builtins"):
        counterfoil.link(**_broken("issuances", frame))


def test_frames_of_another_duckdb_connection_are_refused_by_name() -> None:
    frames = ENGINES["duckdb"].frames(_everything())
    other = duckdb.connect()
    frames["orders"] = other.sql("SELECT 'o' AS order_id, 't' AS transaction_id")
    with pytest.raises(LinkageError, match="make all on one"):
        counterfoil.link(**frames)


def test_importing_counterfoil_imports_no_engine() -> None:
    import subprocess
    import sys

    script = "import counterfoil, sys; print(sorted({'duckdb', 'polars', 'narwhals'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
    assert {"link", "breaks", "reconcile"} <= set(dir(counterfoil))


def test_a_redemption_without_an_issuance_is_of_the_campaign_that_it_names(engine: Engine) -> None:
    sources = {
        **_everything(),
        "issuances": [{"voucher_id": "known", "issued_at": at(1), "campaign_id": "of the issuance"}],
        "redemptions": [
            {"voucher_id": "known", "redeemed_at": at(2), "campaign_id": "of the redemption"},
            {"voucher_id": "orphan", "redeemed_at": at(2), "campaign_id": "of the redemption"},
        ],
    }
    rows = engine.rows(counterfoil.link(**engine.frames(sources)))
    assert {row["voucher_id"]: row["campaign_id"] for row in rows} == {
        "known": "of the issuance",
        "orphan": "of the redemption",
    }
