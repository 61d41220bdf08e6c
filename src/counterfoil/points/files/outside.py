"""The other crediting interface: a loyalty system of somebody else, over HTTP.

docs/outside-crediting.md is the protocol. A reference is credited once, however often it is sent: it answers
with its first result again. So whatever went wrong, the answer to not knowing is to send it once more.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Final, Literal, TypeVar

import httpx
import msgspec

from counterfoil.errors import UnavailableError
from counterfoil.webhooks import rules
from counterfoil.webhooks.addresses import Guard, addresses_of, parse

ANSWER_BYTES: Final = 64 * 1024
"""The longest answer, and `ANSWER_BYTES_PER_CREDIT` more for each credit."""
ANSWER_BYTES_PER_CREDIT: Final = 2048
EXCERPT: Final = 200

T = TypeVar("T")


class Outside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the system is and how it wants records: a batch in a request, or each in one of its own."""

    url: str
    mode: Literal["batch", "record"] = "batch"
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    """For a request, from looking up the name to the last byte of the answer."""
    secret: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,1000}$")] | None = None
    """A bearer token."""
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    """Requests at a time, where each record has one."""

    def __repr__(self) -> str:
        """Without the secret: logs are read by many."""
        return f"Outside(url={self.url!r}, mode={self.mode!r})"


class Credit(msgspec.Struct, frozen=True):
    """Points for a member. `reference` is what they are known by, for ever."""

    reference: str
    customer_id: str
    points: int
    occurred_on: date | None = None
    offer_code: str | None = None


class Credited(msgspec.Struct, frozen=True):
    """What became of a credit. `repeated`: it had been sent before, and this is the first result again."""

    reference: Annotated[str, msgspec.Meta(max_length=1000)]
    status: Literal["accepted", "rejected", "duplicate"]
    code: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")] | None = None
    their_reference: Annotated[str, msgspec.Meta(pattern=r"^[^\x00]{1,200}$")] | None = None
    repeated: bool = False


class OutsideError(UnavailableError):
    """Not all of the credits have a result; `known` are those that have. All may be sent again as they are.

    Only one request for each record can leave some known: a batch has all results or none.
    """

    code = "outside_failed"

    def __init__(self, detail: str, *, known: Sequence[Credited] = ()) -> None:
        super().__init__(detail)
        self.known = tuple(known)


class OverloadedError(OutsideError):
    """It has too much to do (429, 503). `retry_after`: seconds until which it wants to be left alone."""

    code = "outside_overloaded"

    def __init__(self, detail: str, *, retry_after: float | None, known: Sequence[Credited] = ()) -> None:
        super().__init__(detail, known=known)
        self.retry_after = retry_after


class TimedOutError(OutsideError):
    """No answer in time: it may have credited, or may do so still."""

    code = "outside_timed_out"


class UnreachableError(OutsideError):
    """There was no connection, or it broke: it may have credited."""

    code = "outside_unreachable"


class BadAnswerError(OutsideError):
    """The answer is none of this protocol; nothing of it counts. `status` is that of HTTP."""

    code = "outside_bad_answer"

    def __init__(self, detail: str, *, status: int | None = None, known: Sequence[Credited] = ()) -> None:
        super().__init__(detail, known=known)
        self.status = status


def new_client(outside: Outside, *, trusted: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """A client for this system only: its connections are kept, and must not serve another name.

    It knows no proxy, no redirects and no cookies. `trusted`: certificates; by default those of browsers.
    """
    kept = 1 if outside.mode == "batch" else outside.concurrency
    return httpx.AsyncClient(
        verify=trusted or httpx.create_ssl_context(),
        trust_env=False,
        follow_redirects=False,
        timeout=outside.timeout_seconds,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=kept),
        cookies=None,
    )


class _Credits(msgspec.Struct):
    credits: Sequence[Credit]


class _Results(msgspec.Struct):
    results: list[Credited]


@dataclass(frozen=True, slots=True)
class _Line:
    """The way to the system: its addresses were looked up and checked once, for all requests of a batch."""

    client: httpx.AsyncClient
    outside: Outside
    url: httpx.URL
    addresses: list[str]
    now: datetime


async def credit(
    client: httpx.AsyncClient,
    outside: Outside,
    batch: Sequence[Credit],
    *,
    key: str,
    guard: Guard,
    now: datetime,
) -> list[Credited]:
    """Send credits; one result for each, in their order. Every reference must be there once.

    `key` becomes the Idempotency-Key: the same for the same credits. `OverloadedError`, `TimedOutError`,
    `UnreachableError` and `BadAnswerError` say why there is no result; `InvalidError` that the address is one
    to which nothing may be sent.
    """
    if len({one.reference for one in batch}) != len(batch):
        raise ValueError("A reference is there twice.")
    if not batch:
        return []
    line = await _open_line(client, outside, guard=guard, now=now)
    if outside.mode == "record":
        return await _each(line, batch, key=key)
    answer = await _post(line, "/credits", msgspec.json.encode(_Credits(batch)), key=key, most=len(batch))
    return _matched(_decoded(answer, _Results).results, batch)


async def _open_line(client: httpx.AsyncClient, outside: Outside, *, guard: Guard, now: datetime) -> _Line:
    url = parse(outside.url)
    try:
        async with asyncio.timeout(outside.timeout_seconds):
            found = await addresses_of(url, guard=guard)
    except (OSError, UnicodeError) as error:  # a timeout is an OSError
        raise UnreachableError(f"The name cannot be resolved: {error}"[:300]) from error
    return _Line(client, outside, url, found, now)


async def _each(line: _Line, batch: Sequence[Credit], *, key: str) -> list[Credited]:
    """A request for each, some at a time. After a failure no further one begins, and the others end."""
    waiting = iter(batch)
    found: dict[str, Credited] = {}
    failures: list[OutsideError] = []

    async def work() -> None:
        for one in waiting:
            # References have letters that a header cannot have.
            own = hashlib.sha256(f"{key}\n{one.reference}".encode()).hexdigest()
            try:
                answer = await _post(line, "/credit", msgspec.json.encode(one), key=own, most=1)
                found[one.reference] = _matched([_decoded(answer, Credited)], [one])[0]
            except OutsideError as failure:
                failures.append(failure)
            if failures:
                return

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(line.outside.concurrency, len(batch))):
            tasks.create_task(work())
    if failures:
        # What the system asks for tells more than what else broke meanwhile.
        told = next((one for one in failures if isinstance(one, OverloadedError)), failures[0])
        told.known = tuple(found.values())
        raise told
    return [found[one.reference] for one in batch]


async def _post(line: _Line, path: str, body: bytes, *, key: str, most: int) -> bytes:
    """The body of a 200; an `OutsideError` for anything else."""
    patience = line.outside.timeout_seconds
    try:
        async with asyncio.timeout(patience):
            response = await _connected(line, path, body, key=key)
            try:
                answer = await _read(response, ANSWER_BYTES + most * ANSWER_BYTES_PER_CREDIT)
            finally:
                await response.aclose()
    except (TimeoutError, httpx.TimeoutException) as error:
        raise TimedOutError(f"No answer within {patience:g} seconds.") from error
    except (httpx.HTTPError, ssl.SSLError, OSError) as error:
        raise UnreachableError(f"No answer: {str(error) or type(error).__name__}"[:300]) from error
    return _checked(response, answer, now=line.now)


async def _connected(line: _Line, path: str, body: bytes, *, key: str) -> httpx.Response:
    """The answer of the first address that takes a connection. The name stays in Host and in TLS."""
    url = line.url.copy_with(path=line.url.path.rstrip("/") + path, query=None, fragment=None)
    headers = {
        "host": url.netloc.decode("ascii"),
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "idempotency-key": key,
    }
    if line.outside.secret is not None:
        headers["authorization"] = f"Bearer {line.outside.secret}"
    whole = line.outside.timeout_seconds
    timeouts = {"connect": whole / max(len(line.addresses), 1), "read": whole, "write": whole, "pool": whole}
    extensions = {"timeout": timeouts, "sni_hostname": url.raw_host.decode("ascii").strip("[]")}
    failed: Exception = OSError("The name has no address.")
    for address in line.addresses:
        request = line.client.build_request(
            "POST", url.copy_with(host=address), content=body, headers=headers, extensions=extensions
        )
        try:
            return await line.client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as failure:
            failed = failure
    raise failed


async def _read(response: httpx.Response, limit: int) -> bytes:
    # As it comes: what was compressed is not unpacked, so that it cannot swell.
    content = bytearray()
    async for part in response.aiter_raw():
        content += part
        if len(content) > limit:
            raise BadAnswerError(f"The answer is longer than {limit} bytes.", status=response.status_code)
    return bytes(content)


def _checked(response: httpx.Response, answer: bytes, *, now: datetime) -> bytes:
    status = response.status_code
    if status in {429, 503}:
        asked = rules.retry_after(response.headers.get("retry-after"), now=now)
        most = rules.LONGEST_RETRY_AFTER
        retry_after = None if asked is None else min(max(asked, timedelta(0)), most).total_seconds()
        raise OverloadedError(f"It has too much to do (HTTP {status}).", retry_after=retry_after)
    if status in {408, 504}:
        raise TimedOutError(f"It took too long, as it says itself (HTTP {status}).")
    if status != 200:
        excerpt = answer[:EXCERPT].decode("utf-8", "replace").replace("\x00", "\ufffd")
        raise BadAnswerError(f"HTTP {status} instead of 200: {excerpt}", status=status)
    return answer


def _decoded(answer: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=shape)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadAnswerError(f"The answer is not as agreed: {error}"[:300], status=200) from error


def _matched(results: Sequence[Credited], batch: Sequence[Credit]) -> list[Credited]:
    """The results in the order of the credits; `BadAnswerError` unless there is exactly one for each."""
    found = {one.reference: one for one in results}
    if len(found) != len(results):
        raise BadAnswerError("A reference has two results.", status=200)
    if missing := next((one for one in batch if one.reference not in found), None):
        raise BadAnswerError(f"There is no result for {missing.reference!r}.", status=200)
    if len(found) != len(batch):
        raise BadAnswerError("There are results for references that were not sent.", status=200)
    if nameless := next((one for one in results if one.status == "rejected" and one.code is None), None):
        raise BadAnswerError(f"{nameless.reference!r} was rejected without a code.", status=200)
    return [found[one.reference] for one in batch]
