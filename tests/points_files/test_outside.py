"""Crediting in somebody else's system: whatever happens on the way, every reference is credited once."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Literal

import httpx
import msgspec
import pytest

from counterfoil.errors import InvalidError
from counterfoil.points.files import outside
from counterfoil.points.files.outside import Credit, Credited, Outside
from counterfoil.webhooks.addresses import guard
from tests.points_files.loyalty import Fault, Loyalty, running_loyalty

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HERE = guard("127.0.0.0/8")
MODES: tuple[Literal["batch", "record"], ...] = ("batch", "record")
FAULTS: tuple[Fault, ...] = ("garbage", "missing", "invented", "error")
BATCH = [Credit(f"r{n}", f"c{n % 3}", n, date(2026, 5, 1 + n), "SPRING") for n in range(1, 8)]
BALANCES = {"c0": 9, "c1": 12, "c2": 7}


@pytest.fixture
def loyalty() -> Iterator[Loyalty]:
    with running_loyalty() as running:
        yield running


@asynccontextmanager
async def client_of(system: Outside) -> AsyncIterator[httpx.AsyncClient]:
    # No TLS here, and to load the certificates of browsers takes long.
    async with outside.new_client(system, trusted=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
        yield client


async def send(system: Outside, batch: list[Credit] = BATCH, key: str = "btc_1") -> list[Credited]:
    async with client_of(system) as client:
        return await outside.credit(client, system, batch, key=key, guard=HERE, now=NOW)


@pytest.mark.parametrize("mode", MODES)
async def test_every_credit_has_a_result_in_the_order_asked(loyalty: Loyalty, mode: Any) -> None:
    loyalty.rejects["c2"] = "member_unknown"
    results = await send(Outside(loyalty.url, mode))
    assert [one.reference for one in results] == [one.reference for one in BATCH]
    assert [one.status for one in results] == [
        "rejected" if one.customer_id == "c2" else "accepted" for one in BATCH
    ]
    assert {one.code for one in results} == {None, "member_unknown"}
    assert all(one.their_reference for one in results if one.status == "accepted")
    assert loyalty.balances == {"c0": 9, "c1": 12}


@pytest.mark.parametrize("mode", MODES)
async def test_a_batch_sent_again_gets_its_first_results_again(loyalty: Loyalty, mode: Any) -> None:
    loyalty.rejects["c2"] = "member_unknown"
    first = await send(Outside(loyalty.url, mode))
    loyalty.rejects.clear()
    second = await send(Outside(loyalty.url, mode))
    assert all(one.repeated for one in second)
    assert [msgspec.structs.replace(one, repeated=False) for one in second] == first
    assert loyalty.balances == {"c0": 9, "c1": 12}


async def test_a_reference_that_was_used_for_something_else_is_a_duplicate(loyalty: Loyalty) -> None:
    await send(Outside(loyalty.url))
    other = [msgspec.structs.replace(BATCH[0], points=1_000)]
    assert [one.status for one in await send(Outside(loyalty.url), other)] == ["duplicate"]
    assert loyalty.balances == BALANCES


@pytest.mark.parametrize("mode", MODES)
async def test_what_was_credited_but_timed_out_is_credited_once(loyalty: Loyalty, mode: Any) -> None:
    loyalty.faults.append("late")
    with pytest.raises(outside.TimedOutError):
        await send(Outside(loyalty.url, mode, timeout_seconds=0.2))
    assert loyalty.balances
    assert {one.status for one in await send(Outside(loyalty.url, mode))} == {"accepted"}
    assert loyalty.balances == BALANCES


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
async def test_a_broken_connection_loses_and_doubles_nothing(
    loyalty: Loyalty, fault: Fault, mode: Any
) -> None:
    loyalty.faults.append(fault)
    with pytest.raises(outside.UnreachableError):
        await send(Outside(loyalty.url, mode))
    assert {one.status for one in await send(Outside(loyalty.url, mode))} == {"accepted"}
    assert loyalty.balances == BALANCES


@pytest.mark.parametrize(
    ("mode", "fault"),
    # The answer to one record has no room for another.
    [(mode, fault) for mode in MODES for fault in FAULTS if (mode, fault) != ("record", "invented")],
)
async def test_an_answer_that_is_not_as_agreed_counts_for_nothing(
    loyalty: Loyalty, fault: Fault, mode: Any
) -> None:
    loyalty.faults.append(fault)
    with pytest.raises(outside.BadAnswerError) as caught:
        await send(Outside(loyalty.url, mode))
    assert caught.value.status == (500 if fault == "error" else 200)
    assert {one.status for one in await send(Outside(loyalty.url, mode))} == {"accepted"}
    assert loyalty.balances == BALANCES


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=900), usegmt=True), 86_400.0),
        ("soon", None),
    ],
)
async def test_an_overloaded_system_says_when_to_come_back(
    loyalty: Loyalty, header: str, seconds: float | None
) -> None:
    loyalty.retry_after = header
    loyalty.faults.append("overloaded")
    with pytest.raises(outside.OverloadedError) as caught:
        await send(Outside(loyalty.url))
    assert caught.value.retry_after == seconds
    assert not loyalty.balances


async def test_record_by_record_what_is_known_before_a_refusal_is_told(loyalty: Loyalty) -> None:
    loyalty.faults.extend([None, None, "overloaded"])
    with pytest.raises(outside.OverloadedError) as caught:
        await send(Outside(loyalty.url, "record", concurrency=1))
    assert [one.reference for one in caught.value.known] == list(loyalty.results)
    assert len(caught.value.known) == 2


async def test_records_go_over_connections_that_are_kept_and_are_not_more_than_allowed(
    loyalty: Loyalty,
) -> None:
    loyalty.capacity, loyalty.servers, loyalty.most_running = 20_000, 3, 3
    system = Outside(loyalty.url, "record", concurrency=3)
    batch = [Credit(f"k{n}", "c", 1) for n in range(100)]
    async with client_of(system) as client:
        assert len(await outside.credit(client, system, batch, key="k", guard=HERE, now=NOW)) == 100
    assert loyalty.balances == {"c": 100}
    assert loyalty.connections <= 3


async def test_the_key_and_the_secret_are_sent(loyalty: Loyalty) -> None:
    loyalty.secret = "s3cret"
    with pytest.raises(outside.BadAnswerError, match="401"):
        await send(Outside(loyalty.url))
    await send(Outside(f"{loyalty.url}/v2/", secret="s3cret"), key="btc_9")
    path, headers, count = loyalty.requests[-1]
    assert (path, headers["idempotency-key"], count) == ("/v2/credits", "btc_9", len(BATCH))
    assert "s3cret" not in repr(Outside(loyalty.url, secret="s3cret"))


@pytest.mark.parametrize("mode", MODES)
async def test_an_address_of_a_private_network_is_refused_unless_it_is_allowed(
    loyalty: Loyalty, mode: Any
) -> None:
    system = Outside(loyalty.url, mode)
    async with client_of(system) as client:
        with pytest.raises(InvalidError) as caught:
            await outside.credit(client, system, BATCH, key="k", guard=guard(None), now=NOW)
    assert caught.value.code == "webhook_url_forbidden"
    assert not loyalty.requests


async def test_a_system_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(outside.UnreachableError):
        await send(Outside("http://127.0.0.1:1"))


async def test_a_name_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises(outside.UnreachableError, match="resolved"):
        await send(Outside("http://nowhere.invalid"))


async def test_a_redirect_is_not_followed_and_an_endless_answer_not_read(loyalty: Loyalty) -> None:
    loyalty.raw = b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    with pytest.raises(outside.BadAnswerError, match="307"):
        await send(Outside(loyalty.url))
    loyalty.raw = b"HTTP/1.1 200 X\r\ncontent-length: 99999999\r\n\r\n" + b" " * 200_000
    with pytest.raises(outside.BadAnswerError, match="longer"):
        await send(Outside(loyalty.url))


@pytest.mark.parametrize(
    "answer",
    [
        '{"results": [{"reference": "r1", "status": "maybe"}]}',
        '{"results": [{"reference": "r1", "status": "rejected"}]}',
        '{"results": [{"reference": "r1", "status": "accepted", "their_reference": "a\\u0000b"}]}',
        '{"results": [{"reference": "r1", "status": "accepted"}, {"reference": "r1", "status": "accepted"}]}',
        '{"results": 1}',
        "[]",
        "",
        "\udcff",
    ],
)
async def test_a_result_that_could_not_be_kept_is_no_result(loyalty: Loyalty, answer: str) -> None:
    body = answer.encode("utf-8", "surrogateescape")
    loyalty.raw = b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with pytest.raises(outside.BadAnswerError):
        await send(Outside(loyalty.url), BATCH[:1])


async def test_nothing_is_sent_for_nothing_and_a_reference_is_not_sent_twice(loyalty: Loyalty) -> None:
    assert await send(Outside(loyalty.url), []) == []
    with pytest.raises(ValueError, match="twice"):
        await send(Outside(loyalty.url), [BATCH[0], BATCH[0]])
    assert not loyalty.requests


@pytest.mark.parametrize(
    "given",
    [{"timeout_seconds": 0}, {"concurrency": 0}, {"mode": "stream"}, {"secret": "a b"}, {"colour": "red"}],
)
def test_a_description_of_a_system_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "https://loyalty.example.com", **given}, Outside)


@pytest.mark.parametrize("mode", MODES)
async def test_whatever_goes_wrong_by_chance_all_is_credited_once_in_the_end(
    loyalty: Loyalty, mode: Any
) -> None:
    batch = [Credit(f"r{n}", f"c{n % 50}", 1 + n % 7) for n in range(300)]
    wrong: list[Fault] = ["overloaded", "reset_before", "reset_after", "garbage", "error"]
    loyalty.fault_rates = dict.fromkeys(wrong, 0.15 if mode == "batch" else 0.004)
    system, parts = Outside(loyalty.url, mode), [batch[n : n + 20] for n in range(0, 300, 20)]
    async with client_of(system) as client:
        for number, part in enumerate(parts):
            while True:
                try:
                    await outside.credit(client, system, part, key=f"b{number}", guard=HERE, now=NOW)
                    break
                except outside.OutsideError:
                    continue
    assert sum(loyalty.balances.values()) == sum(one.points for one in batch)
    assert len(loyalty.results) == 300
