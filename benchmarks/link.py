"""Linking vouchers, against SQL written by hand and against merely copying the same files.

One interleaved run, each case in a process of its own:

- `duckdb link`: `counterfoil.link` on DuckDB, Parquet to Parquet
- `polars link`: the same function on Polars LazyFrames
- `hand-written SQL`: the same table (asserted) by SQL that an expert would write (benchmarks/link.sql)
- `copy`: DuckDB copying the four Parquet files to Parquet: the limit for anything that reads and writes them
- `pandas link`: the same function on pandas frames (the smallest size only)

30 % of the vouchers are bought and 40 % redeemed, there are twice as many orders and transactions as are
needed, and about 1 % of everything is odd: records that come twice, transactions that pay for several
vouchers or carry several orders, vouchers redeemed twice, ids that lead nowhere.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
import _bench as bench

SOURCES: Final = ("issuances", "redemptions", "orders", "transactions")
KEYS: Final = ("text", "integer")
BYTES_PER_VOUCHER_ON_POLARS: Final = 1_100
"""Measured; Polars has no memory limit to give it, and a benchmark must not take the machine down."""
SQL: Final = Path(__file__).with_name("link.sql")
# What `counterfoil link` writes with: most columns are ids, of which a dictionary is work for nothing.
PARQUET: Final = "FORMAT parquet, DICTIONARY_SIZE_LIMIT 1000"


def connect(memory_limit: str, scratch: Path) -> Any:
    import duckdb

    (scratch / "spill").mkdir(exist_ok=True)
    config: dict[str, Any] = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": "false",
    }
    return duckdb.connect(config=config)


def generate(vouchers: int, keys: str, directory: Path) -> None:
    """Write the four Parquet files. Everything follows from row numbers: the same files every time."""
    directory.mkdir(parents=True)
    connection = connect("4GB", directory)
    needed = vouchers * 7 // 10
    voucher, order, transaction, redemption, customer = (
        (
            lambda n: f"('CF' || upper(to_hex(hash({n})))[1:12])",
            *(_text_id(p) for p in ("ord", "txn", "red", "cus")),
        )
        if keys == "text"
        else (lambda n: f"({n})::BIGINT",) * 5
    )
    start, bought = "TIMESTAMP '2026-01-01' + to_seconds", needed * 2
    tables = {
        # 1 in 997 comes twice (a day later); of the bought ones, 1 in 101 names an order that is not there.
        "issuances": f"""
            SELECT {voucher("i")} AS voucher_id, {start}(i % 2000000 + 86400 * copy) AS issued_at,
                   i % 27 AS campaign_id, {customer("hash(i) % 200000")} AS customer_id,
                   ['app', 'web', 'mail'][1 + i % 3] AS channel, i % 100 AS store_id,
                   CASE WHEN i % 10 < 3 AND i % 101 = 7 THEN {order(f"i + {bought}")}
                        WHEN i % 10 < 3 AND i % 103 = 7 THEN {order("0")}
                        WHEN i % 10 < 3 THEN {order(f"(i * 13) % {bought}")} END AS order_id
            FROM range({vouchers}) r(i), (VALUES (0), (1)) c(copy) WHERE copy = 0 OR i % 997 = 5""",
        # 1 in 211 redeems a voucher again, 1 in 199 shares a transaction, 1 in 307 is of an unknown voucher.
        "redemptions": f"""
            SELECT {redemption("i")} AS redemption_id,
                   {
            voucher(f'''CASE WHEN i % 307 = 5 THEN i + {vouchers * 2}
                                     WHEN i % 211 = 5 THEN ((i - 1) * 7907) % {vouchers}
                                     ELSE (i * 7907) % {vouchers} END''')
        } AS voucher_id,
                   {start}(2000000 + i % 2000000) AS redeemed_at,
                   {
            transaction(f"CASE WHEN i % 199 = 5 THEN i - 1 ELSE i END * 17 % {bought}")
        } AS transaction_id,
                   {customer("hash((i * 7907)) % 200000")} AS customer_id, i % 100 AS store_id,
                   100 + i % 900 AS discount
            FROM range({vouchers * 4 // 10}) r(i)""",
        # 1 in 127 is a second order on the transaction of another; 1 in 499 comes twice.
        "orders": f"""
            SELECT {order("i")} AS order_id,
                   {transaction(f"CASE WHEN i % 127 = 5 THEN i - 1 ELSE i END * 11 % {bought}")}
                       AS transaction_id,
                   {customer("hash(i) % 200000")} AS customer_id, {start}(i % 2000000 + copy) AS ordered_at,
                   i * 37 % 100000 AS amount, i % 100 AS store_id,
                   ['app', 'web', 'mail'][1 + i % 3] AS channel
            FROM range({bought}) r(i), (VALUES (0), (1)) c(copy) WHERE copy = 0 OR i % 499 = 5""",
        # 1 in 503 is not there.
        "transactions": f"""
            SELECT {transaction("i")} AS transaction_id, {start}(i % 2000000) AS paid_at,
                   i * 37 % 100000 - 500 AS amount, {customer("hash(i) % 200000")} AS customer_id
            FROM range({bought}) r(i) WHERE i % 503 != 5""",
    }
    for name, query in tables.items():
        connection.execute(f"COPY ({query}) TO '{directory / name}.parquet'")
    connection.close()


def _text_id(prefix: str) -> Any:
    return lambda n: f"('{prefix}_' || format('{{:012d}}', ({n})::BIGINT))"


def link_on_duckdb(data: Path, out: Path, memory_limit: str) -> None:
    import counterfoil

    connection = connect(memory_limit, out.parent)
    read = connection.read_parquet
    frames: dict[str, Any] = {name: read(str(data / f"{name}.parquet")) for name in SOURCES}
    result: Any = counterfoil.link(**frames)
    connection.execute(f"COPY ({result.sql_query()}) TO '{out}' ({PARQUET})")


def link_by_hand(data: Path, out: Path, memory_limit: str) -> None:
    connection = connect(memory_limit, out.parent)
    for name in SOURCES:
        connection.execute(f"CREATE VIEW {name} AS FROM '{data / name}.parquet'")
    connection.execute(f"COPY ({SQL.read_text()}) TO '{out}' ({PARQUET})")


def copy(data: Path, out: Path, memory_limit: str) -> None:
    connection = connect(memory_limit, out.parent)
    for name in SOURCES:
        connection.execute(f"COPY (FROM '{data / name}.parquet') TO '{out}.{name}' (FORMAT parquet)")


def link_on_polars(data: Path, out: Path, _: str) -> None:
    import polars as pl

    import counterfoil

    frames: dict[str, Any] = {name: pl.scan_parquet(data / f"{name}.parquet") for name in SOURCES}
    counterfoil.link(**frames).sink_parquet(out)


def link_on_pandas(data: Path, out: Path, _: str) -> None:
    import pandas as pd

    import counterfoil

    frames: dict[str, Any] = {name: pd.read_parquet(data / f"{name}.parquet") for name in SOURCES}
    counterfoil.link(**frames).to_parquet(out, index=False)


def import_modules(case: str) -> None:
    """Importing is not what is measured."""
    import duckdb  # noqa: F401

    if case.endswith("link"):
        import counterfoil.linkage.link  # noqa: F401
    if case.startswith("pandas"):
        import pandas  # noqa: F401


CASES: Final = {
    "duckdb link": link_on_duckdb,
    "hand-written SQL": link_by_hand,
    "copy": copy,
    "polars link": link_on_polars,
    "pandas link": link_on_pandas,
}


def fingerprint(path: Path) -> tuple[Any, ...]:
    """Rows, sums and a hash over all values of all rows, whatever their order."""
    connection = connect("4GB", path.parent)
    columns = connection.read_parquet(str(path)).columns
    texts = ", ".join(f"{name}::VARCHAR" for name in columns)
    query = f"""
        SELECT count(*), sum(purchase_amount_allocated)::BIGINT, sum(transaction_amount_allocated)::BIGINT,
               bit_xor(hash({texts})), sum(hash({texts})::HUGEINT) FROM '{path}'"""
    found = connection.execute(query).fetchall()[0]
    return (tuple(columns), *found)


def check(data: Path, made: dict[str, Path]) -> dict[str, Any]:
    """All tables are the same, and money is allocated exactly. Raises AssertionError otherwise."""
    prints = {name: fingerprint(path) for name, path in made.items()}
    ours = prints["duckdb link"]
    for name, found in prints.items():
        assert found == ours, f"{name} differs: {found} != {ours}"
    connection = connect("4GB", data)
    distinct = """
        SELECT sum(amount)::BIGINT FROM (SELECT {id} AS id, any_value({amount}) AS amount FROM '{path}'
        WHERE {amount} IS NOT NULL GROUP BY {id})"""
    path = made["duckdb link"]
    for place, (key, amount) in enumerate(
        (("purchase_transaction_id", "purchase_amount"), ("transaction_id", "transaction_amount")), start=2
    ):
        query = distinct.format(id=key, amount=amount, path=path)
        expected = connection.execute(query).fetchall()[0][0]
        assert expected == ours[place], f"{amount}: {expected} over transactions, {ours[place]} over rows"
    return {
        "rows": ours[1],
        "same_table": sorted(prints),
        "purchase_sum": ours[2],
        "transaction_sum": ours[3],
    }


def run_size(vouchers: int, keys: str, arguments: argparse.Namespace, directory: Path, *, first: bool) -> Any:
    data = directory / f"{vouchers}-{keys}"
    generate(vouchers, keys, data)
    names = [name for name in CASES if not (name == "pandas link" and not first)]
    if vouchers * BYTES_PER_VOUCHER_ON_POLARS > bench.memory_bytes() * 0.6:
        names.remove("polars link")
    outputs = {name: directory / f"{name.replace(' ', '-')}.parquet" for name in names}
    cases = {
        name: partial(
            bench.run_child,
            __file__,
            [
                "--child",
                name,
                "--data",
                str(data),
                "--out",
                str(outputs[name]),
                "--memory-limit",
                arguments.memory_limit,
            ],
        )
        for name in names
    }
    print(f"{vouchers:,} vouchers, {keys} keys", file=sys.stderr)
    runs = bench.interleave(cases, arguments.rounds if vouchers <= 20_000_000 else 1)
    invariants = check(data, {name: path for name, path in outputs.items() if name != "copy"})
    shutil.rmtree(data)
    return runs, invariants


def report(
    vouchers: int, keys: str, runs: dict[str, list[bench.Run]]
) -> tuple[dict[str, Any], dict[str, float]]:
    ours = runs["duckdb link"]
    rates, ratios = {}, {}
    print(
        f"\n{f'{vouchers:,} vouchers, {keys} keys':34}  seconds  CPU s  vouchers/s  peak MB"
        "  duckdb link / it (CPU)"
    )
    for name, its in runs.items():
        seconds, peak = bench.median_seconds(its), bench.peak_bytes(its)
        cpu, against, cpu_against = (
            bench.median_cpu_seconds(its),
            bench.ratio(ours, its),
            bench.ratio(ours, its, "cpu_seconds"),
        )
        print(
            f"  {name:32} {seconds:8.3f} {cpu:6.2f} {vouchers / seconds:11,.0f} {peak / 1e6:8,.0f} "
            f"{against:8.2f} ({cpu_against:.2f})"
        )
        rates[name] = {
            "seconds": round(seconds, 4),
            "cpu_seconds": round(cpu, 4),
            "vouchers_per_second": round(vouchers / seconds),
            "peak_rss_mb": round(peak / 1e6),
        }
        ratios[f"duckdb link / {name}"] = round(against, 3)
        ratios[f"duckdb link / {name} (CPU)"] = round(cpu_against, 3)
    return rates, ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="200,000 vouchers, 3 rounds: under a minute")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument(
        "--keys", choices=KEYS, nargs="+", default=list(KEYS), help="larger sizes: the first only"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-limit", default="4GB", help="of DuckDB, in all its cases")
    parser.add_argument(
        "--directory", type=Path, default=None, help="where the data goes; default: a temporary one"
    )
    parser.add_argument("--json", type=Path, default=None)
    for name in ("--child", "--data", "--out"):
        parser.add_argument(name, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        work = CASES[arguments.child]
        import_modules(arguments.child)
        bench.measure(partial(work, Path(arguments.data), Path(arguments.out), arguments.memory_limit))
        return
    if arguments.quick:
        arguments.sizes, arguments.rounds = [200_000], 3
    with tempfile.TemporaryDirectory(prefix="counterfoil-bench-", dir=arguments.directory) as directory:
        run(arguments, Path(directory))


def run(arguments: argparse.Namespace, directory: Path) -> None:
    rates: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    invariants: dict[str, Any] = {}
    smallest = min(arguments.sizes)
    for vouchers in sorted(arguments.sizes):
        for keys in arguments.keys if vouchers == smallest else arguments.keys[:1]:
            runs, invariant = run_size(vouchers, keys, arguments, directory, first=vouchers == smallest)
            label = f"{vouchers} {keys}"
            rates[label], ratios[label] = report(vouchers, keys, runs)
            invariants[label] = invariant
    base = rates[f"{smallest} {arguments.keys[0]}"]["duckdb link"]["seconds"]
    for vouchers in sorted(arguments.sizes)[1:]:
        grown = rates[f"{vouchers} {arguments.keys[0]}"]["duckdb link"]["seconds"] / base
        ratios[f"growth {smallest} to {vouchers}"] = round(grown, 2)
        print(f"\n{vouchers / smallest:g} times the vouchers took {grown:.1f} times as long.")
    of_machine = bench.machine(("duckdb", "polars", "narwhals", "pandas", "pyarrow"))
    print("\nall tables equal, all money allocated exactly;", of_machine)
    bench.write_json(arguments.json, rates=rates, ratios=ratios, invariants=invariants, of_machine=of_machine)


if __name__ == "__main__":
    main()
