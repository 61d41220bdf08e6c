"""Crediting systems in virtual time, and workers that send to them: nothing sleeps, a seed repeats all."""

from __future__ import annotations

import heapq
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from counterfoil.points.files import limiter
from counterfoil.points.files.limiter import Bounds, Decision, Observation, Outcome, State

PER_RECORD: Final = 0.0002
"""Seconds that a record takes alone, at full speed: 5,000 a second."""
PER_BATCH: Final = 0.02
BETWEEN: Final = 0.02
"""Seconds that a worker needs from one batch to the next."""
REFUSING: Final = 0.05
RETRY_AFTER: Final = 1.0
NOISE: Final = 0.15
"""Standard deviation of the logarithm of a batch's work."""


@dataclass
class Job:
    """A batch that is under way. `left`: seconds of work."""

    records: int
    began: float
    running: int
    left: float
    worker: int


Rate = Callable[[Sequence[Job], int, float], float]
"""How fast job number so-and-so of those under way gets on, at this capacity (1: as in the beginning)."""


@dataclass(frozen=True)
class System:
    """A model of a crediting system."""

    name: str
    rate: Rate
    most_running: float | None = None
    """Batches that it takes at once at full capacity; further ones are answered 503."""
    workers_max: int = 8


def queue_of(servers: int) -> Rate:
    """Like M/M/c: so many servers with a batch each; the others wait. Less capacity is fewer servers."""

    def rate(_jobs: Sequence[Job], number: int, capacity: float) -> float:
        return 1.0 if number < max(1, round(servers * capacity)) else 0.0

    return rate


def slowing(servers: int) -> Rate:
    """The same, but less capacity is slower servers: a batch that is alone takes longer, too."""

    def rate(_jobs: Sequence[Job], number: int, capacity: float) -> float:
        return capacity if number < servers else 0.0

    return rate


def knee(batches: int, thrashing: float) -> Rate:
    """Up to so many batches do not disturb each other; beyond, they share, and something is lost."""

    def rate(jobs: Sequence[Job], _number: int, capacity: float) -> float:
        beyond = max(0.0, len(jobs) / (batches * capacity) - 1)
        return 1 / (1 + beyond) / (1 + thrashing * beyond)

    return rate


SYSTEMS: Final = (
    System("one at a time", queue_of(1), workers_max=4),
    System("queue, 4 servers", queue_of(4)),
    System("4 servers that slow down", slowing(4)),
    System("knee at 4 batches", knee(4, 0.3)),
    System("503 above 4 batches", queue_of(4), most_running=4),
)


@dataclass(frozen=True)
class Done:
    """What became of a batch that was sent, and what was decided then."""

    at: float
    seconds: float
    records: int
    outcome: Outcome
    decision: Decision | None


@dataclass(frozen=True)
class Phase:
    """So many batches (that were credited) at this capacity."""

    batches: int
    capacity: float


@dataclass
class Trace:
    """All that happened in a run; `starts` says at which entry each phase begins."""

    done: list[Done] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def phase(self, number: int) -> list[Done]:
        """What ended in a phase."""
        ends = [*self.starts[1:], len(self.done)]
        return self.done[self.starts[number] : ends[number]]


class Workers:
    """Workers that send batches to a system: as many and as large as the limiter says, or always the same."""

    def __init__(self, system: System, bounds: Bounds, *, fixed: tuple[int, int] | None, seed: int) -> None:
        self.system, self.bounds, self.fixed = system, bounds, fixed
        self.random = random.Random(seed)
        self.state: State = limiter.start(bounds)
        self.now = 0.0
        self.jobs: list[Job] = []
        self.idle = list(range(bounds.workers_max))
        self.resting: list[tuple[float, int, bool]] = []
        self.between = 0
        self.trace = Trace()

    @property
    def setting(self) -> tuple[int, int]:
        """Workers, and records of a batch."""
        return self.fixed or (self.state.workers, self.state.batch_size)

    def run(self, phases: Sequence[Phase]) -> Trace:
        """One phase after the other."""
        for phase in phases:
            self.trace.starts.append(len(self.trace.done))
            wanted = phase.batches
            while wanted > 0:
                self._begin(phase.capacity)
                wanted -= self._step(phase.capacity)
        return self.trace

    def _begin(self, capacity: float) -> None:
        while self.idle and len(self.jobs) + self._waiting() < self.setting[0]:
            size = self.setting[1]
            worker = heapq.heappop(self.idle)
            running = len(self.jobs) + 1
            limit = self.system.most_running
            if limit is not None and running > max(1, round(limit * capacity)):
                self._ended(worker, REFUSING, size, running, "overloaded")
                continue
            work = (PER_BATCH + PER_RECORD * size) * self.random.lognormvariate(0, NOISE)
            self.jobs.append(Job(size, self.now, running, work, worker))

    def _waiting(self) -> int:
        """Workers that will send soon. One that was refused is replaced, if as many are still allowed."""
        return len(self.resting) if self.fixed else self.between

    def _step(self, capacity: float) -> int:
        """To the next thing that happens; how many batches were credited."""
        rates = [self.system.rate(self.jobs, number, capacity) for number in range(len(self.jobs))]
        ends = [
            (self.now + job.left / rate, number)
            for number, (job, rate) in enumerate(zip(self.jobs, rates, strict=True))
            if rate > 0
        ]
        end = min(ends, default=None)
        wakes = self.resting[0][0] if self.resting else None
        if end is None or (wakes is not None and wakes < end[0]):
            assert wakes is not None
            self._advance(wakes, rates)
            _, worker, refused = heapq.heappop(self.resting)
            heapq.heappush(self.idle, worker)
            self.between -= not refused
            return 0
        self._advance(end[0], rates)
        job = self.jobs.pop(end[1])
        self._ended(job.worker, self.now - job.began, job.records, job.running, "ok")
        return 1

    def _advance(self, to: float, rates: Sequence[float]) -> None:
        for job, rate in zip(self.jobs, rates, strict=True):
            job.left -= rate * (to - self.now)
        self.now = to

    def _ended(self, worker: int, seconds: float, records: int, running: int, outcome: Outcome) -> None:
        decision, pause = None, RETRY_AFTER if outcome == "overloaded" else 0.0
        if self.fixed is None:
            asked = pause or None
            seen = Observation(seconds, records, outcome, running, asked)
            self.state, decision = limiter.observe(self.state, seen, self.bounds)
            pause = decision.pause
        self.trace.done.append(Done(self.now, seconds, records, outcome, decision))
        heapq.heappush(self.resting, (self.now + BETWEEN + pause, worker, outcome != "ok"))
        self.between += outcome == "ok"


def simulate(
    system: System,
    phases: Sequence[Phase],
    *,
    bounds: Bounds | None = None,
    fixed: tuple[int, int] | None = None,
    seed: int = 1,
) -> Trace:
    """A run; `fixed`: workers and batch size that never change."""
    bounds = bounds or Bounds(workers_max=system.workers_max)
    return Workers(system, bounds, fixed=fixed, seed=seed).run(phases)


PHASES: Final = (Phase(300, 1.0), Phase(300, 0.5), Phase(300, 1.0))
"""The capacity is halved, and comes back."""
SIZES: Final = (2500, 3000, 3500, 4000, 4500, 5000)


def throughput(done: Sequence[Done], since: float) -> float:
    """Records credited in a second."""
    credited = [one for one in done if one.outcome == "ok"]
    return sum(one.records for one in credited) / (credited[-1].at - since)


def p95(done: Sequence[Done]) -> float:
    """Seconds that 95 of 100 credited batches took at most."""
    return statistics.quantiles([one.seconds for one in done if one.outcome == "ok"], n=20)[-1]


def rates(trace: Trace) -> list[float]:
    """The throughput of each phase, and of all."""
    phases = [trace.phase(number) for number in range(len(trace.starts))]
    begun = [0.0, *(phase[-1].at for phase in phases)]
    found = [throughput(phase, since) for phase, since in zip(phases, begun, strict=False)]
    return [*found, throughput(trace.done, 0.0)]


@cache
def best_fixed(system: System, seed: int = 1) -> tuple[list[float], tuple[int, int]]:
    """The highest throughput of each phase, and of all, that a setting that never changes has; and which one
    is best for all.
    """
    found = {
        (workers, size): rates(simulate(system, PHASES, fixed=(workers, size), seed=seed))
        for workers in range(1, system.workers_max + 1)
        for size in SIZES
    }
    best = [max(every) for every in zip(*found.values(), strict=True)]
    return best, max(found, key=lambda setting: found[setting][-1])


def unloaded(system: System, capacity: float) -> float:
    """Seconds that a full batch takes alone, without chance."""
    alone = [Job(5000, 0.0, 1, 1.0, 0)]
    return (PER_BATCH + PER_RECORD * 5000) / system.rate(alone, 0, capacity)


def recovery(done: Sequence[Done], best: float, latency: float, window: int = 15) -> int:
    """After how many batches the next `window` ran at 0.9 of `best`, and half of them within `latency`."""
    for first in range(len(done) - window):
        part = done[first : first + window + 1]
        fast = throughput(part[1:], part[0].at) >= 0.9 * best
        if fast and statistics.median(one.seconds for one in part if one.outcome == "ok") <= latency:
            return first
    return len(done)


@dataclass(frozen=True)
class Result:
    """How a run of the limiter went: for each phase, and for all where it says so."""

    of_best: list[float]
    """Throughput as a part of the best fixed setting's; the last one is that of all phases."""
    p95: list[float]
    """As a part of the target."""
    recovery: list[int]
    """Batches."""
    refused: int
    within: bool
    """Whether every decision was within the bounds."""
    workers: list[float]
    """The mean of the second half of each phase."""


def result(system: System, seed: int, *, bounds: Bounds | None = None) -> Result:
    """Run the limiter through the phases."""
    bounds = bounds or Bounds(workers_max=system.workers_max)
    trace = simulate(system, PHASES, bounds=bounds, seed=seed)
    best = best_fixed(system)[0]
    phases = [trace.phase(number) for number in range(len(PHASES))]
    targets = [bounds.target * unloaded(system, phase.capacity) for phase in PHASES]
    return Result(
        of_best=[ours / theirs for ours, theirs in zip(rates(trace), best, strict=True)],
        p95=[p95(phase) / target for phase, target in zip(phases, targets, strict=True)],
        recovery=[
            recovery(phase, fixed, 1.5 * target)
            for phase, fixed, target in zip(phases, best, targets, strict=False)
        ],
        refused=sum(one.outcome != "ok" for one in trace.done),
        within=all(is_within(one.decision, bounds) for one in trace.done),
        workers=[
            statistics.mean(one.decision.workers for one in phase[len(phase) // 2 :] if one.decision)
            for phase in phases
        ],
    )


def is_within(decision: Decision | None, bounds: Bounds) -> bool:
    """Whether what was decided is allowed."""
    return (
        decision is not None
        and bounds.workers_min <= decision.workers <= bounds.workers_max
        and bounds.batch_size_min <= decision.batch_size <= bounds.batch_size_max
    )
