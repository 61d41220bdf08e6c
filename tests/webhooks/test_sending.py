"""What a receiver sees, and what its answers lead to."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from counterfoil import clock
from counterfoil.db.transactions import begin
from counterfoil.webhooks import deliveries, endpoints
from counterfoil.webhooks.addresses import Guard
from counterfoil.webhooks.attempts import AT_ENDPOINT_THAT_FAILS, PER_ENDPOINT
from counterfoil.webhooks.jobs import AT_ENDPOINTS_THAT_FAIL, AT_ONCE, send_webhooks
from counterfoil.webhooks.rules import SCHEDULE
from counterfoil.webhooks.sending import Answer, new_client, send
from tests.builders import NOW
from tests.webhooks.conftest import HERE, World, event, until
from tests.webhooks.receiver import Receiver, Request, answer, receiving


async def test_a_receiver_gets_a_cloud_event_that_it_can_verify(world: World, receiver: Receiver) -> None:
    _, secret = await world.endpoint(receiver.url("/hooks?a=b"))
    await world.tell(event(7, "voucher.redeemed", text="满100减20"))
    await world.send()
    (request,) = receiver.requests
    assert request.path == "/hooks?a=b"
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["webhook-id"] == "e7"
    assert request.verified(secret) == {
        "specversion": "1.0",
        "id": "e7",
        "source": "/merchants/grocer",
        "type": "voucher.redeemed",
        "subject": "v7",
        "time": "2026-06-01T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {"voucher_id": "v7", "text": "满100减20"},
    }
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(request.body.replace(b"v7", b"v8"), request.headers)
    states = "SELECT state, attempts, next_attempt_at, last_status, last_error FROM webhook_deliveries"
    assert await world.all(states) == [("delivered", 1, None, 204, None)]
    assert await world.all("SELECT number, status, error, response FROM webhook_attempts") == [
        (1, 204, None, "")
    ]


async def test_an_endpoint_gets_the_types_that_it_wants(world: World, receiver: Receiver) -> None:
    await world.endpoint(receiver.url("/all"))
    await world.endpoint(receiver.url("/some"), events=["voucher.issued", "campaign.ended"])
    await world.tell(event(1, "voucher.issued"), event(2, "voucher.redeemed"), event(3, "campaign.ended"))
    await world.send()
    assert sorted(r.headers["webhook-id"] for r in receiver.at("/all")) == ["e1", "e2", "e3"]
    assert sorted(r.headers["webhook-id"] for r in receiver.at("/some")) == ["e1", "e3"]


async def test_what_nobody_wants_is_not_kept(world: World, receiver: Receiver) -> None:
    await world.endpoint(receiver.url(), events=["voucher.issued"])
    off, _ = await world.endpoint(receiver.url())
    await world.change(off, enabled=False)
    assert await world.tell(event(1, "voucher.redeemed")) == 0
    assert await world.all("SELECT id FROM webhook_messages") == []


async def test_attempts_follow_the_schedule_exactly_and_then_end(world: World, receiver: Receiver) -> None:
    receiver.answers["/"] = answer(500, b"no\x00t now")
    endpoint, _ = await world.endpoint(receiver.url())
    await world.tell(event(), now=NOW)
    now = NOW
    for number, wait in enumerate(SCHEDULE):
        now += wait
        if wait:
            await world.send(now - timedelta(microseconds=1))
            assert len(receiver.requests) == number
        await world.send(now)
        assert len(receiver.requests) == number + 1
    assert now - NOW == timedelta(hours=75, minutes=35, seconds=5)
    await world.send(now + timedelta(days=2))
    assert len(receiver.requests) == len(SCHEDULE)
    assert {(r.headers["webhook-id"], r.body) for r in receiver.requests} == {
        ("e1", receiver.requests[0].body)
    }
    assert await world.all("SELECT state, attempts, last_response FROM webhook_deliveries") == [
        ("failed", 10, "no\ufffdt now")
    ]
    assert await world.all("SELECT count(*), min(at), max(at) FROM webhook_attempts") == [(10, NOW, now)]
    assert (await world.get(endpoint)).failing_since == NOW


@pytest.mark.parametrize(
    ("asked", "next_at"),
    [
        ("2", NOW + timedelta(seconds=5)),
        ("120", NOW + timedelta(seconds=120)),
        ("999999999", NOW + timedelta(hours=24)),
        ("Mon, 01 Jun 2026 13:00:00 GMT", NOW + timedelta(hours=1)),
        ("Mon, 01 Jun 2020 13:00:00 GMT", NOW + timedelta(seconds=5)),
        ("soon", NOW + timedelta(seconds=5)),
    ],
)
async def test_a_receiver_that_asks_for_more_time_gets_it(
    world: World, receiver: Receiver, asked: str, next_at: object
) -> None:
    receiver.answers["/"] = answer(503, Retry_After=asked)
    await world.endpoint(receiver.url())
    await world.tell(event(), now=NOW)
    await world.send(NOW)
    assert await world.all("SELECT next_attempt_at FROM webhook_deliveries") == [(next_at,)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(world: World, receiver: Receiver, status: int) -> None:
    receiver.answers["/"] = answer(status, Location=receiver.url("/elsewhere"))
    await world.endpoint(receiver.url())
    await world.tell(event())
    await world.send()
    assert [r.path for r in receiver.requests] == ["/"]
    assert await world.all("SELECT state, last_status FROM webhook_deliveries") == [("waiting", status)]


async def test_gone_disables_the_endpoint_and_what_waits_goes_on_when_it_is_enabled(
    world: World, receiver: Receiver
) -> None:
    receiver.answers["/"] = answer(410)
    endpoint, secret = await world.endpoint(receiver.url())
    await world.tell(event(1), now=NOW)
    await world.send(NOW)
    found = await world.get(endpoint)
    assert (found.disabled_at, found.disabled_reason) == (NOW, "gone")
    await world.send(NOW + timedelta(days=1))
    assert await world.tell(event(2)) == 0
    assert len(receiver.requests) == 1
    receiver.answers.clear()
    assert (await world.change(endpoint, enabled=True)).disabled_reason is None
    await world.send()
    assert [r.verified(secret)["id"] for r in receiver.requests[1:]] == ["e1"]


async def test_an_endpoint_at_which_everything_fails_for_five_days_is_disabled(
    world: World, receiver: Receiver
) -> None:
    receiver.answers["/"] = answer(500)
    endpoint, _ = await world.endpoint(receiver.url())
    other, _ = await world.endpoint(receiver.url("/other"))
    for day in (0, 4.9, 5):
        now = NOW + timedelta(days=day)
        assert (await world.get(endpoint)).disabled_at is None
        await world.tell(event(str(day).replace(".", "-")), now=now)
        await world.send(now)
    found = await world.get(endpoint)
    assert (found.disabled_at, found.disabled_reason) == (now, "failing")
    assert found.failing_since == NOW
    assert (await world.get(other)).disabled_at is None
    # Switching it on forgives what was.
    assert (await world.change(endpoint, enabled=True)).failing_since is None
    await world.send(now + timedelta(days=1))
    assert (await world.get(endpoint)).disabled_at is None


async def test_one_success_ends_the_failing(world: World, receiver: Receiver) -> None:
    receiver.answers["/"] = answer(500)
    endpoint, _ = await world.endpoint(receiver.url())
    await world.tell(event(1), now=NOW)
    await world.send(NOW)
    receiver.answers.clear()
    await world.tell(event(2), now=NOW)
    await world.send(NOW)
    assert (await world.get(endpoint)).failing_since is None


async def test_after_a_rotation_both_secrets_verify_for_a_day(world: World, receiver: Receiver) -> None:
    endpoint, first = await world.endpoint(receiver.url())
    now = clock.now()
    async with begin(world.engine) as tx:
        found, second = await endpoints.rotate_secret(
            tx, merchant_id=world.merchant, endpoint_id=endpoint.id, now=now
        )
    assert found.previous_secret_until == now + timedelta(hours=24)
    await world.tell(event())
    await world.send()
    (request,) = receiver.requests
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    assert request.verified(first) == request.verified(second)
    assert first != second
    later = now + timedelta(hours=24)
    await world.tell(event(2), now=later)
    await world.send(later)
    assert len(receiver.requests[1].headers["webhook-signature"].split(" ")) == 1


async def test_a_replay_sends_the_same_message_again_and_its_schedule_begins_anew(
    world: World, receiver: Receiver
) -> None:
    _, secret = await world.endpoint(receiver.url())
    await world.tell(event())
    await world.send()
    receiver.answers["/"] = answer(500)
    ((delivery_id,),) = await world.all("SELECT id FROM webhook_deliveries")
    for number in (2, 3):
        now = clock.now()
        async with begin(world.engine) as tx:
            await deliveries.replay(tx, merchant_id=world.merchant, delivery_id=delivery_id, now=now)
        await world.send(now)
        assert await world.all(
            "SELECT state, attempts, next_attempt_at, restarted_at_attempt FROM webhook_deliveries"
        ) == [("waiting", number, now + timedelta(seconds=5), number - 1)]
    assert len({r.body for r in receiver.requests}) == 1
    assert {r.verified(secret)["id"] for r in receiver.requests} == {"e1"}


async def test_all_that_failed_since_a_time_can_be_replayed(world: World, receiver: Receiver) -> None:
    receiver.answers["/"] = answer(500)
    endpoint, _ = await world.endpoint(receiver.url())
    for n in range(4):
        await world.tell(event(n), now=NOW + timedelta(hours=n))
    async with begin(world.engine) as tx:
        await tx.execute(
            """UPDATE webhook_deliveries SET state = 'failed', next_attempt_at = NULL
               WHERE message_id <> 'e3'"""
        )
        replayed = await deliveries.replay_failed(
            tx,
            merchant_id=world.merchant,
            endpoint_id=endpoint.id,
            since=NOW + timedelta(hours=1),
            now=NOW,
        )
    assert replayed == 2
    waiting = "SELECT message_id FROM webhook_deliveries WHERE state = 'waiting' ORDER BY 1"
    assert await world.all(waiting) == [("e1",), ("e2",), ("e3",)]


async def test_an_answer_without_an_end_is_read_for_64_kilobytes_and_counts(
    world: World, receiver: Receiver
) -> None:
    async def endless(request: Request) -> bytes:
        return b"HTTP/1.1 200 X\r\n\r\n" + b"x" * 10_000_000

    receiver.answers["/"] = endless
    await world.endpoint(receiver.url())
    await world.tell(event())
    await world.send()
    assert await world.all("SELECT state, length(last_response) FROM webhook_deliveries") == [
        ("delivered", 1000)
    ]


@pytest.mark.parametrize("said", [b"", b"SMTP ready\r\n\r\n", b"HTTP/1.1 200 OK\r\nbroken"])
async def test_what_is_no_answer_is_tried_again(world: World, receiver: Receiver, said: bytes) -> None:
    receiver.answers["/"] = said
    await world.endpoint(receiver.url())
    await world.tell(event())
    await world.send()
    ((state, status, error),) = await world.all(
        "SELECT state, last_status, last_error FROM webhook_deliveries"
    )
    assert (state, status) == ("waiting", None)
    assert error.startswith("The answer is not HTTP, or was cut off")


async def test_a_receiver_that_is_not_there_is_tried_again(world: World) -> None:
    await world.endpoint("http://127.0.0.1:9/")
    await world.tell(event())
    await world.send()
    ((state, error),) = await world.all("SELECT state, last_error FROM webhook_deliveries")
    assert state == "waiting"
    assert error.startswith("No connection")


async def test_an_attempt_has_so_much_time_and_no_more(receiver: Receiver) -> None:
    release = asyncio.Event()

    async def hang(request: Request) -> bytes:
        await release.wait()
        return b""

    async def drip(request: Request) -> bytes:
        return b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nso far"

    receiver.answers |= {"/hang": hang, "/drip": drip}
    little = timedelta(milliseconds=300)
    async with new_client() as client:

        async def ask(path: str) -> Answer:
            return await send(
                client, url=receiver.url(path), text="{}", headers={}, guard=HERE, now=NOW, patience=little
            )

        silent, half = await ask("/hang"), await ask("/drip")
    release.set()
    assert (silent.status, silent.error) == (None, "No answer within 0.3 seconds.")
    # It said 200, so it has it, whatever it wanted to say further.
    assert (half.delivered, half.response) == (True, "so far")


async def test_tls_names_the_host_and_believes_only_its_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    names = "subjectAltName=DNS:hooks.example"
    how = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    what = ["-subj", "/CN=hooks.example", "-addext", names, "-keyout", str(key), "-out", str(certificate)]
    await anyio.run_process(["openssl", "req", "-x509", *how, *what])
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    resolving = Guard(networks=HERE.networks, resolve=here)
    async with receiving(serving) as receiver, new_client(trusting) as client:
        told = []
        for host in ("hooks.example", "other.example"):
            url = f"https://{host}:{receiver.port}/"
            told.append(await send(client, url=url, text="{}", headers={}, guard=resolving, now=NOW))
        async with new_client() as distrusting:
            url = f"https://hooks.example:{receiver.port}/"
            told.append(await send(distrusting, url=url, text="{}", headers={}, guard=resolving, now=NOW))
    assert [answer.status for answer in told] == [204, None, None]
    assert asked == ["hooks.example", "other.example", "hooks.example"]
    assert all("certificate" in (answer.error or "").lower() for answer in told[1:])
    assert len(receiver.requests) == 1


async def test_results_are_kept_while_the_database_is_away_and_recorded_after(
    world: World, receiver: Receiver
) -> None:
    await world.endpoint(receiver.url())
    await world.tell(event())
    async with begin(world.engine) as tx:
        await tx.execute(
            """CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN PERFORM nextval('tries'); RAISE 'away' USING ERRCODE = '57P03'; END $$"""
        )
        await tx.execute("CREATE SEQUENCE tries")  # what it counts outlives the transaction
        await tx.execute(
            "CREATE TRIGGER away BEFORE INSERT ON webhook_attempts FOR EACH ROW EXECUTE FUNCTION away()"
        )
    stop = asyncio.Event()

    async def keep_sending() -> None:
        await send_webhooks(world.engine, stop, guard=HERE)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_sending)
        with anyio.fail_after(60):
            while await world.all("SELECT is_called FROM tries") == [(False,)]:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        async with begin(world.engine) as tx:
            await tx.execute("DROP TRIGGER away ON webhook_attempts")
        stop.set()
    assert len(receiver.requests) == 1
    assert await world.all("SELECT state, attempts FROM webhook_deliveries") == [("delivered", 1)]


async def test_a_slow_endpoint_does_not_hold_up_another(world: World, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def slow(request: Request) -> bytes:
        await release.wait()
        return answer(200)

    receiver.answers["/slow"] = slow
    await world.endpoint(receiver.url("/slow"))
    await world.endpoint(receiver.url("/quick"))
    await world.tell(*(event(n) for n in range(100)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.send)
        await until(lambda: len(receiver.at("/quick")) == 100)
        # All of one are there while the first few of the other still wait.
        assert len(receiver.at("/slow")) == PER_ENDPOINT
        release.set()
    assert len(receiver.at("/slow")) == 100


async def test_many_endpoints_that_never_answer_leave_room_for_those_that_do(
    world: World, receiver: Receiver
) -> None:
    release = asyncio.Event()

    async def hang(request: Request) -> bytes:
        await release.wait()
        return answer(200)

    receiver.answers["/hang"] = hang
    for _ in range(AT_ONCE + 5):
        await world.endpoint(receiver.url("/hang"))
    async with begin(world.engine) as tx:
        await tx.execute("UPDATE webhook_endpoints SET failing_since = now()")
    await world.endpoint(receiver.url("/quick"))
    await world.tell(*(event(n) for n in range(3)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.send)
        await until(lambda: len(receiver.at("/quick")) == 3)
        assert len(receiver.at("/hang")) == AT_ENDPOINTS_THAT_FAIL
        release.set()
    assert len(receiver.at("/hang")) == 3 * (AT_ONCE + 5)


async def test_an_endpoint_that_fails_is_tried_with_one_message_at_a_time(
    world: World, receiver: Receiver
) -> None:
    receiver.answers["/"] = answer(500)
    await world.endpoint(receiver.url())
    await world.tell(event("first"), now=NOW)
    await world.send(NOW)
    running = most = 0

    async def counted(request: Request) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        return answer(500)

    receiver.answers["/"] = counted
    await world.tell(*(event(n) for n in range(20)), now=NOW)
    await world.send(NOW)
    assert len(receiver.requests) == 21
    assert most == AT_ENDPOINT_THAT_FAILS == 1
