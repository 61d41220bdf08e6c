"""How many records may be under way at once: as many as the crediting interface takes without strain.

One number is steered, the *limit*: records in flight. The number of workers (the coarse lever) and the size
of a batch (the fine one) follow from it: as few workers as can carry it, so that batches are as large as they
may be. A batch is compared with what a full batch takes while nothing else is under way, the *unloaded*
level; the limit rises and falls so that batches take more than that, but less than `target` times as long.

- While latency is low the limit grows, faster from round to round; when it is high it falls by as much as it
  is too high. A round is as many batches as there are workers, and its median decides: one slow batch says
  nothing.
- What was under way before a change says nothing about it, and a limit that is not used is not raised.
- A refusal or a timeout cuts the limit at once, and for a while it does not go back to where that happened.
- High latency can mean a longer queue or a slower system. If a cut does not help, and now and then anyhow,
  only `workers_min` batches run for a moment: the *probe*, the only thing that raises the unloaded level. So
  it does not creep up under a load that lasts, and follows where the system has become slower for good. One
  that has become faster shows in any batch; then a probe says how fast.

After TCP Vegas (Brakmo, O'Malley, Peterson 1994: the least delay seen is the measure, and the rates expected
and reached are compared), Gradient2 of Netflix's concurrency-limits (the limit times a bounded quotient of
delays, nothing raised while it is not used), Envoy's adaptive concurrency filter (the unloaded level is
measured anew with few requests in flight) and CUBIC (slow near the last loss, then faster). All of it is
arithmetic: no clock, no I/O. The state is a row of the database, advanced under its lock, batch by batch.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

Outcome = Literal["ok", "overloaded", "timed_out"]
Why = Literal[
    "measuring",
    "steady",
    "latency_low",
    "latency_high",
    "overloaded",
    "timed_out",
    "held_back",
    "probing",
    "probed",
    "unused",
    "bounds",
    "late",
    "small",
]
"""Why a decision is as it is; docs/limiter.md has a sentence for each."""

BAND: Final = 0.12
"""So near to the target, as a part of it, nothing is changed."""
FIRST_PACE: Final = 1.0
"""In the beginning the limit doubles, until something speaks against it."""
SLOW_PACE: Final = 0.1
"""By which part the limit grows after it fell; it doubles from round to round, up to `MOST_PACE`."""
MOST_PACE: Final = 0.4
LEAST_CUT: Final = 0.5
"""By latency the limit falls to this part of it at most in one round."""
AFTER_REFUSAL: Final = 0.8
AFTER_TIMEOUT: Final = 0.5
NEAR_REFUSAL: Final = 0.95
"""For `HELD_BACK` batches after a refusal the limit stays below this part of where it happened."""
HELD_BACK: Final = 12
LEAST_ROUND: Final = 3
"""Batches in a round, at least: their median leaves one out. While the limit doubles it is not waited for."""
PROBE_EVERY: Final = 250
"""Batches from one probe to the next while latency is above the unloaded level."""
PROBE_BATCHES: Final = 2
FOLLOWING: Final = 0.3
"""How far the unloaded level follows a round that was faster, or a batch that ran alone."""
CHANCE: Final = 1.1
"""A round that is faster by less than this says nothing, or chance would lower the level round by round."""
MUCH: Final = 0.25
"""A round that is faster by this part calls for a probe, `LEAST_BETWEEN` batches after the last at least."""
LEAST_BETWEEN: Final = 40
NEWS: Final = 0.25
"""A probe that differs by more than this part is believed; another one halfway."""


class Bounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a program or a partner allows. `target`: how many times the unloaded level a batch may take.

    The limiter steers halfway there, and 95 of 100 batches stay within 1.5 times of it.
    """

    batch_size_min: int = 2500
    batch_size_max: int = 5000
    workers_min: int = 1
    workers_max: int = 4
    target: float = 1.5

    def __post_init__(self) -> None:
        """`ValueError` for bounds that leave nothing between them."""
        if not 1 <= self.batch_size_min <= self.batch_size_max:
            raise ValueError("batch_size_min must be at least 1, and at most batch_size_max.")
        if not 1 <= self.workers_min <= self.workers_max:
            raise ValueError("workers_min must be at least 1, and at most workers_max.")
        if not 1 < self.target <= 10:
            raise ValueError("target must be above 1, and at most 10.")


class State(msgspec.Struct, frozen=True):
    """What is known after the batches so far; JSON as it is."""

    limit: float
    """Records that may be in flight."""
    batch_size: int
    workers: int
    unloaded: float | None = None
    """Seconds per record while nothing else is under way."""
    latency: float | None = None
    """Seconds of a batch: the median of the last round."""
    round: tuple[float, ...] = ()
    """Seconds of the batches since the last decision."""
    used: int = 0
    """How many of these began while the limit was used."""
    pace: float = FIRST_PACE
    high: int = 0
    """Rounds in a row that took too long."""
    refused_at: float | None = None
    since_refusal: int = 0
    resume: float | None = None
    """During a probe: the limit before it."""
    since_probe: int = 0
    since_change: int = 0
    """Batches since the limit has had another value."""
    batches: int = 0


class Observation(msgspec.Struct, frozen=True):
    """A batch that has ended. `running`: how many were in flight when it began, itself among them."""

    seconds: float
    records: int
    outcome: Outcome = "ok"
    running: int = 1
    retry_after: float | None = None


class Decision(msgspec.Struct, frozen=True):
    """What holds from now on, why, and what it was decided by (seconds of a full batch)."""

    batch_size: int
    workers: int
    why: Why
    latency: float | None
    unloaded: float | None
    pause: float = 0.0
    """Seconds that the worker of this batch waits before it takes or sends another."""


def start(bounds: Bounds) -> State:
    """Before anything is known: as little as the bounds allow."""
    return _limited(State(0.0, 0, 0), bounds.workers_min * bounds.batch_size_min, bounds)


def within(state: State, bounds: Bounds) -> State:
    """The same state where the bounds have been changed meanwhile."""
    limited = _limited(state, state.limit, bounds)
    same = (limited.workers, limited.batch_size) == (state.workers, state.batch_size)
    return limited if same else _changed(state, state.limit, bounds)


def observe(state: State, seen: Observation, bounds: Bounds) -> tuple[State, Decision]:
    """What follows from a batch that has ended."""
    state = replace(
        within(state, bounds),
        batches=state.batches + 1,
        since_probe=state.since_probe + 1,
        since_refusal=state.since_refusal + 1,
        since_change=state.since_change + 1,
    )
    pause = 0.0
    if seen.outcome != "ok":
        pause = seen.retry_after if seen.retry_after is not None else state.latency or 1.0
        state, why = _refused(state, seen, bounds)
    elif seen.seconds <= 0 or seen.records * 2 < min(state.batch_size, bounds.batch_size_min):
        why = "small"
    elif state.resume is not None:
        state, why = _probe(state, seen, bounds)
    else:
        state, why = _measure(state, seen, bounds)
    full = None if state.unloaded is None else state.unloaded * bounds.batch_size_max
    return state, Decision(state.batch_size, state.workers, why, state.latency, full, max(pause, 0.0))


def _limited(state: State, limit: float, bounds: Bounds) -> State:
    """The state with another limit: as few workers as can carry it, with batches as large as they may be."""
    least = bounds.workers_min * bounds.batch_size_min
    limit = min(max(limit, least), bounds.workers_max * bounds.batch_size_max)
    workers = min(max(math.ceil(limit / bounds.batch_size_max), bounds.workers_min), bounds.workers_max)
    if workers * bounds.batch_size_min > limit:
        workers = max(workers - 1, bounds.workers_min)
    size = min(max(round(limit / workers), bounds.batch_size_min), bounds.batch_size_max)
    return replace(state, limit=float(limit), workers=workers, batch_size=size)


def _changed(state: State, limit: float, bounds: Bounds) -> State:
    return replace(_limited(state, limit, bounds), round=(), used=0, since_change=0)


def _load(state: State, seen: Observation) -> float:
    """Records in flight when the batch began, as a part of those that are allowed now."""
    return seen.running * seen.records / (state.workers * state.batch_size)


def _late(state: State, seen: Observation, bounds: Bounds) -> bool:
    """Whether it began under a higher limit. Not for ever: others may send through the same limit, too."""
    return _load(state, seen) > 1.05 and state.since_change <= 2 * bounds.workers_max


def _refused(state: State, seen: Observation, bounds: Bounds) -> tuple[State, Why]:
    why: Why = "timed_out" if seen.outcome == "timed_out" else "overloaded"
    if _late(state, seen, bounds):
        return state, "late"
    cut = AFTER_TIMEOUT if why == "timed_out" else AFTER_REFUSAL
    refused_at = state.limit
    if state.resume is not None:
        return replace(state, resume=state.resume * cut, since_refusal=0, pace=SLOW_PACE), why
    state = replace(state, refused_at=refused_at, since_refusal=0, pace=SLOW_PACE)
    return _changed(state, refused_at * cut, bounds), why


def _measure(state: State, seen: Observation, bounds: Bounds) -> tuple[State, Why]:
    if _late(state, seen, bounds):
        return state, "late"
    used = state.used + (_load(state, seen) > 0.9)
    state = replace(state, round=(*state.round, seen.seconds), used=used)
    if state.workers == bounds.workers_min and seen.running <= bounds.workers_min:
        state = _alone(state, seen.seconds / seen.records)
    alone = state.workers == bounds.workers_min and state.batch_size == bounds.batch_size_max
    least = LEAST_ROUND if state.pace < FIRST_PACE or alone else 1
    if len(state.round) < max(least, state.workers):
        return state, "measuring"
    return _decide(state, bounds)


def _alone(state: State, per_record: float) -> State:
    """A batch beside which no other ran: what it took is the unloaded level, but for chance."""
    known = state.unloaded
    return replace(state, unloaded=per_record if known is None else known + FOLLOWING * (per_record - known))


def _aim(bounds: Bounds) -> float:
    """Halfway to the target: chance must not carry batches beyond it, and what queues up brings nothing."""
    return (1 + bounds.target) / 2


def _decide(state: State, bounds: Bounds) -> tuple[State, Why]:
    """At the end of a round."""
    latency = median(state.round)
    used = state.used * 2 >= len(state.round)
    per_record = latency / state.batch_size
    unloaded = per_record if state.unloaded is None else state.unloaded
    faster = used and per_record < (1 - MUCH) * unloaded
    if used and per_record * CHANCE < unloaded:
        unloaded += FOLLOWING * (per_record * CHANCE - unloaded)
    state = replace(state, latency=latency, unloaded=unloaded, round=(), used=0)
    strain = latency / (unloaded * bounds.batch_size_max) / _aim(bounds)
    if strain > 1 + BAND:
        return _lower(state, strain, bounds)
    state = replace(state, high=0)
    due = per_record > CHANCE * unloaded and state.since_probe >= PROBE_EVERY
    if due or (faster and state.workers > bounds.workers_min and state.since_probe >= LEAST_BETWEEN):
        return _begin_probe(state, bounds), "probing"
    if strain > 1 - BAND:
        return replace(state, pace=SLOW_PACE), "steady"
    return _raise(state, strain, bounds) if used else (state, "unused")


def _lower(state: State, strain: float, bounds: Bounds) -> tuple[State, Why]:
    """The round took too long: a longer queue, or a slower system."""
    state = replace(state, high=state.high + 1, pace=SLOW_PACE)
    if state.workers > bounds.workers_min and (state.high > 1 or strain > 2):
        return _begin_probe(state, bounds), "probing"
    lower = _changed(state, state.limit * max(LEAST_CUT, 1 / strain), bounds)
    return lower, "bounds" if lower.limit == state.limit else "latency_high"


def _raise(state: State, strain: float, bounds: Bounds) -> tuple[State, Why]:
    most = math.inf
    if state.refused_at is not None:
        if state.since_refusal < HELD_BACK:
            most = max(state.refused_at * NEAR_REFUSAL, state.limit)
        else:
            state = replace(state, refused_at=None)
    wanted = state.limit * min(1 + state.pace, 1 / strain)
    higher = _changed(state, min(wanted, most), bounds)
    if higher.limit == state.limit:
        return state, "held_back" if wanted > most else "bounds"
    pace = state.pace if state.pace > MOST_PACE else min(2 * state.pace, MOST_PACE)
    return replace(higher, pace=pace), "latency_low"


def _begin_probe(state: State, bounds: Bounds) -> State:
    few = min(state.limit, bounds.workers_min * bounds.batch_size_max)
    return replace(_changed(state, few, bounds), resume=state.limit, since_probe=0, high=0)


def _probe(state: State, seen: Observation, bounds: Bounds) -> tuple[State, Why]:
    """Wait until the others have ended, take the batches that ran alone, and go back.

    If none ever runs alone (one that has died counts as running still), all stays as it was known.
    """
    per_record = seen.seconds / seen.records
    if seen.running <= bounds.workers_min:
        state = replace(state, round=(*state.round, per_record))
    enough = len(state.round) >= PROBE_BATCHES * bounds.workers_min
    if not enough and state.since_probe <= 2 * bounds.workers_max + 4:
        return state, "probing"
    known = state.unloaded or per_record
    found = median(state.round) if state.round else known
    unloaded = found if abs(found - known) > NEWS * known else (found + known) / 2
    strain = (state.latency or 0) / (unloaded * bounds.batch_size_max) / _aim(bounds)
    resume = (state.resume or state.limit) * (max(LEAST_CUT, 1 / strain) if strain > 1 + BAND else 1.0)
    return _changed(replace(state, unloaded=unloaded, resume=None), resume, bounds), "probed"
