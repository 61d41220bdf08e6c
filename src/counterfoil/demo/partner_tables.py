"""What is printed of a bank's file: its way and how fast, what was answered meanwhile, and what must hold."""

from __future__ import annotations

from datetime import datetime

from rich.table import Table

from counterfoil.demo.partner_answers import ASKED_ABOUT
from counterfoil.demo.partner_file import Exchange
from counterfoil.errors import ConflictError

_LOOKS_SHOWN = 6


def exchange_tables(exchange: Exchange) -> list[Table]:
    """All of it; `ConflictError` where something does not hold that must."""
    return [way_table(exchange), looks_table(exchange), invariants_table(exchange)]


def way_table(exchange: Exchange) -> Table:
    """Each step of the first file, how long it took, and how many records a second that is."""
    table = Table(
        title=f"A bank's file of {exchange.sent.record_count:,} records, there and back, encrypted both ways",
        title_justify="left",
    )
    for head in ("", "seconds", "records a second", ""):
        table.add_column(head, justify="right" if head else "left")
    last = exchange.first.dropped_at
    for name, at, what in _steps(exchange):
        _add_step(table, exchange, name, (at - last).total_seconds(), what)
        last = at
    table.add_section()
    whole = (last - exchange.first.dropped_at).total_seconds()
    _add_step(table, exchange, "whole", whole, "from the bank's server to the response on it")
    return table


def _steps(exchange: Exchange) -> list[tuple[str, datetime, str]]:
    file, batches = exchange.first.file, exchange.batches
    assert file.opened_at is not None
    assert file.decided_at is not None
    assert file.answered_at is not None
    assert file.sent_at is not None
    return [
        (
            "collected",
            file.received_at,
            f"{file.size_bytes / 1e6:,.1f} MB by SFTP, host key pinned; the wait for it included",
        ),
        (
            "opened",
            file.opened_at,
            f"{exchange.plain_bytes / 1e6:,.1f} MB of {exchange.program}, verified, checked, stored",
        ),
        (
            "credited",
            file.decided_at,
            f"{batches} batches of {exchange.smallest:,} to {exchange.largest:,}, "
            f"{exchange.workers} workers at most",
        ),
        (
            "answered",
            file.answered_at,
            f"{(file.response_bytes or 0) / 1e6:,.1f} MB: a result for each record, signed and encrypted",
        ),
        ("sent", file.sent_at, "put on the bank's server, compared, renamed"),
    ]


def _add_step(table: Table, exchange: Exchange, name: str, seconds: float, what: str) -> None:
    speed = exchange.sent.record_count / seconds if seconds > 0 else 0
    table.add_row(name, f"{seconds:.2f}", f"{speed:,.0f}", what)


def looks_table(exchange: Exchange) -> Table:
    """What was answered while the file was credited."""
    looks = exchange.first.looks
    shown = looks[:: max(1, len(looks) // _LOOKS_SHOWN)]
    if looks and shown[-1] is not looks[-1]:
        shown.append(looks[-1])
    table = Table(
        title=f"Asked while it runs: where are the points of household {ASKED_ABOUT}?",
        title_justify="left",
        caption=f"{len(looks)} times asked; the answer took {_median_ms(exchange):.1f} ms",
    )
    for head in ("seconds", "of the file", "its records", "points credited", "in batch"):
        table.add_column(head, justify="right")
    for look in shown:
        table.add_row(
            f"{look.seconds:.2f}",
            f"{look.progress.decided:,} of {look.progress.records:,}",
            ", ".join(f"{number} {state}" for state, number in sorted(look.states.items())),
            f"{look.credited_points:,} of {look.points:,}",
            ", ".join(map(str, look.batches)) or "none yet",
        )
    return table


def _median_ms(exchange: Exchange) -> float:
    times = sorted(look.asked_ms for look in exchange.first.looks)
    return times[len(times) // 2] if times else 0.0


def invariants_table(exchange: Exchange) -> Table:
    """What must hold after the three files, and whether it does."""
    table = Table(title="What the bank finds in the responses, and must", title_justify="left")
    for name in ("", "", ""):
        table.add_column(name)
    rows = [*_of_first(exchange), *_of_others(exchange)]
    for name, found, holds in rows:
        table.add_row(name, found, "[green]yes" if holds else "[red]NO")
    wrong = [name for name, _, holds in rows if not holds]
    if wrong:
        raise ConflictError(f"Of the bank's files this does not hold: {wrong[0]}.", code="demo_failed")
    return table


def _of_first(exchange: Exchange) -> list[tuple[str, str, bool]]:
    sent, totals, counted = exchange.sent, exchange.first.response.totals, exchange.first.response.counted
    parts = (
        (totals.accepted_count, totals.accepted_points),
        (totals.rejected_count, totals.rejected_points),
        (totals.duplicate_count, totals.duplicate_points),
    )
    read = tuple(counted.get(status, (0, 0)) for status in ("accepted", "rejected", "duplicate"))
    codes = ", ".join(f"{number:,} {code}" for code, number in sorted(exchange.first.response.codes.items()))
    received = sent.record_count, sent.points_total, sent.hash_total
    return [
        (
            "its own totals come back",
            f"{totals.record_count:,} records, {totals.points_total:,} points",
            (totals.record_count, totals.points_total, totals.hash_total) == received,
        ),
        (
            "credited + rejected + duplicate",
            " + ".join(f"{number:,}" for number, _ in parts) + f", {codes or 'no codes'}",
            tuple(map(sum, zip(*parts, strict=True))) == received[:2],
        ),
        ("the records add up to them", f"{sum(number for number, _ in read):,} lines", read == parts),
        (
            "the ledger has as much",
            f"{exchange.posted:,} transfers, {exchange.posted_points:,} points",
            (exchange.posted, exchange.posted_points) == parts[0],
        ),
    ]


def _of_others(exchange: Exchange) -> list[tuple[str, str, bool]]:
    first, again, forged = exchange.first, exchange.again, exchange.forged
    totals = forged.response.totals
    return [
        (
            "the same file again",
            f"{again.file.name}: the identical {len(again.response.sealed):,} bytes, nothing credited",
            again.file.state == "repeated" and again.response.sealed == first.response.sealed,
        ),
        (
            "forged at its end",
            f"{forged.file.name}: rejected, {forged.response.header.reason}; "
            f"number {forged.response.header.expected_sequence} is expected next",
            forged.response.header.status == "rejected"
            and forged.response.header.expected_sequence == (first.file.sequence or 0) + 1
            and (totals.record_count, totals.accepted_count) == (0, 0),
        ),
    ]
