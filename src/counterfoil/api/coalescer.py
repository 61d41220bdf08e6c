"""Single requests made into batches: what arrives while the batch before is being written is the next one.

The more load, the bigger the batch; there is no timer to wait for. A batch that fails is decided again by
halves, so that one request which cannot be decided never fails its neighbours. The queue is bounded: a
request that finds it full is refused at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import structlog

from counterfoil import clock
from counterfoil.access import idempotency
from counterfoil.access.idempotency import Answer, Keyed
from counterfoil.db.engine import batch_connection
from counterfoil.db.transactions import begin_on, translated
from counterfoil.errors import ConflictError, CounterfoilError, UnavailableError
from counterfoil.settings import Settings
from counterfoil.vouchers import verbs
from counterfoil.vouchers.requests import Asked, Outcome
from counterfoil.vouchers.types import VERBS, Verb

PATIENCE: Final = (0.0, 0.0, 0.05)
"""A runner for each: how long a request must have waited before it takes it, in seconds. Two take turns: one
decides while the other commits and answers. The third helps where both wait for locks that others keep."""
COURTESY: Final = 0.05
"""How long a runner waits for its turn, in seconds: whoever has it may be waiting for a lock."""
MOST_IN_BATCH: Final = 500

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Waiting:
    """A request, or several that must be decided together, and who waits for the outcomes."""

    asked: Sequence[Asked[Any]]
    render: Callable[[list[Outcome]], Answer]
    """The answer, from the outcomes: what is kept for a repeated request."""
    keyed: Keyed | None
    since: float = field(default_factory=time.monotonic)
    future: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Plans:
    """When the plans of a connection are made anew.

    They are made once and kept. One that was made while a table was small reads all of it, and in a flash
    sale a table does not stay small for long: so they are made anew soon, and then ever more seldom.
    """

    SOONEST: Final = 0.1
    LATEST: Final = 5.0

    def __init__(self) -> None:
        self._wait = self.SOONEST
        self._due = time.monotonic() + self._wait

    async def renew(self, connection: asyncpg.Connection) -> None:
        """Have the next use of each statement plan it anew, if it is time."""
        if time.monotonic() >= self._due:
            await connection.execute("DISCARD PLANS")
            self._wait = min(2 * self._wait, self.LATEST)
            self._due = time.monotonic() + self._wait


class Turn:
    """One runner decides at a time: the next one then takes all that arrived meanwhile, not what was there
    when it came. It ends before the commit, so that the next batch begins while this one is being written.
    """

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._mine = False

    async def __aenter__(self) -> Turn:
        with suppress(TimeoutError):
            async with asyncio.timeout(COURTESY):
                self._mine = await self._lock.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the next one begin."""
        if self._mine:
            self._mine = False
            self._lock.release()


class Coalescer:
    """Decides requests in batches, over connections of its own. Close it when the server stops."""

    def __init__(self, database_url: str, settings: Settings) -> None:
        self._url = database_url
        self._settings = settings
        self._queues: dict[Verb, deque[Waiting]] = {verb: deque() for verb in VERBS}
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._deciding = asyncio.Lock()
        self._runners: list[asyncio.Task[None]] = []

    async def ask(
        self,
        verb: Verb,
        asked: Sequence[Asked[Any]],
        *,
        render: Callable[[list[Outcome]], Answer],
        keyed: Keyed | None = None,
    ) -> Answer:
        """Have requests decided in the next batch of this verb.

        Raises `UnavailableError` (`overloaded`) where too many wait already, and whatever became of the
        batch.
        """
        if self._waiting >= self._settings.queue_limit:
            raise UnavailableError("Too many requests wait already; try again.", code="overloaded")
        if not self._runners:
            self._runners = [asyncio.create_task(self._run(patience)) for patience in PATIENCE]
        waiting = Waiting(asked, render, keyed)
        self._queues[verb].append(waiting)
        self._waiting += 1
        self._arrived.set()
        return await waiting.future

    async def aclose(self) -> None:
        """Stop; whoever still waits is told that the server stops."""
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        self._runners = []
        for queue in self._queues.values():
            _fail(queue, UnavailableError("The server is stopping; try again.", code="stopping"))
            queue.clear()

    async def _wait(self, patience: float) -> None:
        """Until there may be something to do."""
        if not self._waiting:
            self._arrived.clear()
        await self._arrived.wait()
        await asyncio.sleep(patience)

    def _next(self, patience: float) -> tuple[Verb, list[Waiting]] | None:
        """Whoever came first, and all that wait for the same verb; None if nobody waits so long."""
        waiting = [(queue[0].since, verb) for verb, queue in self._queues.items() if queue]
        if not waiting:
            return None
        since, verb = min(waiting)
        if patience and time.monotonic() - since < patience:
            return None
        queue, size = self._queues[verb], 0
        batch: list[Waiting] = []
        while queue and (not batch or size + len(queue[0].asked) <= MOST_IN_BATCH):
            size += len(queue[0].asked)
            batch.append(queue.popleft())
        self._waiting -= len(batch)
        return verb, batch

    async def _run(self, patience: float) -> None:
        runner = Runner(self._url, self._settings)
        batch: list[Waiting] = []
        try:
            while True:
                async with Turn(self._deciding) as turn:
                    found = self._next(patience)
                    if found is not None:
                        verb, batch = found
                        await runner.decide(verb, batch, turn)
                if found is None:
                    await self._wait(patience)
        finally:
            _fail(batch, UnavailableError("The server is stopping; try again.", code="stopping"))
            runner.close()


class Runner:
    """Decides batches over a connection of its own, which it opens anew when it breaks."""

    def __init__(self, database_url: str, settings: Settings) -> None:
        self._url = database_url
        self._timeout = settings.statement_timeout_seconds
        self._connection: asyncpg.Connection | None = None
        self._plans = Plans()

    async def decide(self, verb: Verb, batch: Sequence[Waiting], turn: Turn) -> None:
        """Decide a batch and answer each, also where it fails."""
        try:
            await _decide(await self._connected(), verb, batch, turn)
        except Exception as error:
            told = translated(error)
            known = isinstance(told, CounterfoilError)
            _log.warning(
                "a batch failed",
                verb=verb,
                size=len(batch),
                error=str(error),
                exc_info=None if known else error,
            )
            _fail(batch, told)
            if isinstance(told, UnavailableError):
                self.close()

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await batch_connection(self._url, statement_timeout_seconds=self._timeout)
            self._plans = Plans()
        await self._plans.renew(self._connection)
        return self._connection

    def close(self) -> None:
        """Give the connection up, whatever it is doing."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _fail(batch: Sequence[Waiting], error: BaseException) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(error)


async def _decide(connection: asyncpg.Connection, verb: Verb, batch: Sequence[Waiting], turn: Turn) -> None:
    """Decide a batch and answer each; by halves where it fails though the database is there."""
    waiting = [w for w in batch if not w.future.done()]
    try:
        answers = await _once_more(connection, verb, waiting, turn)
    except Exception as error:
        told = translated(error)
        # A database that is away, or a lock that others keep, is no smaller batch's to overcome.
        if len(waiting) < 2 or isinstance(told, (UnavailableError, ConflictError)):
            raise
        middle = len(waiting) // 2
        for half in (waiting[:middle], waiting[middle:]):
            try:
                await _decide(connection, verb, half, turn)
            except Exception as one:
                _fail(half, translated(one))
        return
    for w, answer in zip(waiting, answers, strict=True):
        if w.future.done():
            continue
        if isinstance(answer, CounterfoilError):
            w.future.set_exception(answer)
        else:
            w.future.set_result(answer)


async def _once_more(
    connection: asyncpg.Connection, verb: Verb, waiting: Sequence[Waiting], turn: Turn
) -> list[Answer | CounterfoilError]:
    """Twice, where a drawn code was there already, or somebody used the same Idempotency-Key at once."""
    try:
        return await _in_one_transaction(connection, verb, waiting, turn)
    except asyncpg.UniqueViolationError:
        return await _in_one_transaction(connection, verb, waiting, turn)


async def _in_one_transaction(
    connection: asyncpg.Connection, verb: Verb, waiting: Sequence[Waiting], turn: Turn
) -> list[Answer | CounterfoilError]:
    now = clock.now()
    keyed = [w.keyed for w in waiting if w.keyed is not None]
    async with begin_on(connection) as tx:
        known = await idempotency.find_answers(tx, keyed) if keyed else {}
        first = _first_of_each_key(waiting, known)
        flat = [a for w in first for a in w.asked]
        outcomes = await verbs.run(tx, verb, flat, now=now) if flat else []
        made, position = {}, 0
        for w in first:
            made[id(w)] = w.render(outcomes[position : position + len(w.asked)])
            position += len(w.asked)
        if keyed:
            # A refusal is not kept: repeated later, the request may well be granted.
            kept = [(w.keyed, made[id(w)]) for w in first if w.keyed and made[id(w)].status < 400]
            await idempotency.keep_answers(tx, kept, now=now)
        turn.end()
    by_key = {w.keyed.name: made[id(w)] for w in first if w.keyed is not None}
    return [made[id(w)] if id(w) in made else _repeated(w.keyed, known, by_key, first) for w in waiting]


def _first_of_each_key(waiting: Sequence[Waiting], known: dict[tuple[str, str], Any]) -> list[Waiting]:
    """Those to decide: without a key, or the first one with a key that was not answered before."""
    seen: set[tuple[str, str]] = set(known)
    first = []
    for w in waiting:
        if w.keyed is None or w.keyed.name not in seen:
            first.append(w)
        if w.keyed is not None:
            seen.add(w.keyed.name)
    return first


def _repeated(
    keyed: Keyed | None,
    known: dict[tuple[str, str], tuple[bytes, Answer]],
    by_key: dict[tuple[str, str], Answer],
    first: Sequence[Waiting],
) -> Answer | CounterfoilError:
    """The first answer to this key, or why it is none."""
    assert keyed is not None
    if keyed.name in known:
        content, answer = known[keyed.name]
    else:
        content = next(w.keyed.content for w in first if w.keyed and w.keyed.name == keyed.name)
        answer = by_key[keyed.name]
    if content != keyed.content:
        return idempotency.reused()
    return Answer(answer.status, answer.body, replayed=True)
