"""How near the adaptive limit comes to the best fixed setting, while the capacity is halved and restored.

    python benchmarks/limiter.py --quick                       # five seeds, some seconds
    python benchmarks/limiter.py --plot limiter.svg            # thirty seeds, and a picture of one run
    python benchmarks/limiter.py --real --json out.json        # and a real HTTP server: two more minutes

Five crediting systems in virtual time (`_crediting.py`), each at full capacity for 300 batches, at half of
it for 300 and at full again. The best fixed setting is found by a sweep of workers and batch sizes, for the
whole run and for each phase by itself: the latter knows the capacity beforehand. With `--real` the same over
HTTP, by the client that credits, against the loyalty system of the tests; batches are a tenth as large, as
server and client share a machine.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from tests.points_files.loyalty import Loyalty

import _bench as bench
import _crediting as models
from _crediting import Done, Result, System, Trace
from counterfoil import clock
from counterfoil.linkage.charts import light
from counterfoil.points.files import limiter, outside
from counterfoil.points.files.limiter import Bounds, Observation, Outcome
from counterfoil.points.files.outside import Credit, Outside
from counterfoil.webhooks.addresses import guard

REAL: Final = Bounds(batch_size_min=250, batch_size_max=500, workers_max=8)
REAL_CAPACITY: Final = 8_000.0
"""Records a second of the four servers together: a full batch takes a quarter of a second."""
REAL_BATCHES: Final = 150
SWEPT: Final = ((3, 500), (4, 500), (5, 500), (6, 500), (8, 500), (8, 250))
LOCAL: Final = guard("127.0.0.0/8")


@dataclass
class Sender:
    """Workers that send batches over HTTP, as many and as large as the limiter says, or always the same."""

    client: httpx.AsyncClient
    to: Outside
    fixed: tuple[int, int] | None = None
    state: limiter.State = field(default_factory=lambda: limiter.start(REAL))
    free: asyncio.Condition = field(default_factory=asyncio.Condition)
    running: int = 0
    sent: int = 0
    wanted: int = 0
    trace: Trace = field(default_factory=Trace)

    @property
    def setting(self) -> tuple[int, int]:
        return self.fixed or (self.state.workers, self.state.batch_size)

    async def run(self, batches: int) -> None:
        """So many batches more."""
        self.trace.starts.append(len(self.trace.done))
        self.wanted = batches
        await asyncio.gather(*(self._work() for _ in range(REAL.workers_max)))

    async def _work(self) -> None:
        while True:
            async with self.free:
                await self.free.wait_for(lambda: self.running < self.setting[0] or self.wanted <= 0)
                if self.wanted <= 0:
                    return
                self.wanted -= 1
                self.running += 1
                size, running = self.setting[1], self.running
            pause = await self._send(size, running)
            await asyncio.sleep(pause)

    async def _send(self, size: int, running: int) -> float:
        self.sent += 1
        batch = [Credit(f"b{id(self)}-{self.sent}-{n}", f"c{n}", 1) for n in range(size)]
        began = time.perf_counter()
        outcome: Outcome = "ok"
        retry_after: float | None = None
        try:
            await outside.credit(
                self.client, self.to, batch, key=f"b{self.sent}", guard=LOCAL, now=clock.now()
            )
        except outside.OverloadedError as error:
            outcome, retry_after = "overloaded", error.retry_after
        except outside.TimedOutError:
            outcome = "timed_out"
        return await self._ended(time.perf_counter() - began, size, running, outcome, retry_after)

    async def _ended(
        self, seconds: float, size: int, running: int, outcome: Outcome, retry_after: float | None
    ) -> float:
        async with self.free:
            seen = Observation(seconds, size, outcome, running, retry_after)
            self.state, decision = limiter.observe(self.state, seen, REAL)
            self.trace.done.append(Done(time.perf_counter(), seconds, size, outcome, decision))
            self.running -= 1
            self.free.notify_all()
        return 0.0 if self.fixed else decision.pause


async def real() -> tuple[Result, Trace]:
    """The same over HTTP. The best fixed setting is swept at both capacities."""
    sys.path.append(str(Path(__file__).parents[1]))
    from tests.points_files.loyalty import running_loyalty

    with running_loyalty(capacity=REAL_CAPACITY) as loyalty:
        to = Outside(loyalty.url, timeout_seconds=30)
        # No TLS here.
        async with outside.new_client(to, trusted=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
            best = {capacity: await _swept(client, to, loyalty, capacity) for capacity in (1.0, 0.5)}
            alone = {capacity: await _alone(client, to, loyalty, capacity) for capacity in (1.0, 0.5)}
            sender, began = Sender(client, to), time.perf_counter()
            for capacity in (1.0, 0.5, 1.0):
                loyalty.capacity = REAL_CAPACITY * capacity
                await sender.run(REAL_BATCHES)
    return _result(sender.trace, began, best, alone), sender.trace


async def _swept(client: httpx.AsyncClient, to: Outside, loyalty: Loyalty, capacity: float) -> float:
    loyalty.capacity = REAL_CAPACITY * capacity
    found = {}
    for setting in SWEPT:
        sender, began = Sender(client, to, setting), time.perf_counter()
        await sender.run(60)
        found[setting] = models.throughput(sender.trace.done, began)
    best = max(found, key=lambda one: found[one])
    print(f"  real, capacity {capacity}: best fixed {best}, {found[best]:,.0f} records/s", flush=True)
    return found[best]


async def _alone(client: httpx.AsyncClient, to: Outside, loyalty: Loyalty, capacity: float) -> float:
    loyalty.capacity = REAL_CAPACITY * capacity
    sender = Sender(client, to, (1, REAL.batch_size_max))
    await sender.run(7)
    return statistics.median(one.seconds for one in sender.trace.done)


def _result(trace: Trace, began: float, best: dict[float, float], alone: dict[float, float]) -> Result:
    capacities = [1.0, 0.5, 1.0]
    phases = [trace.phase(number) for number in range(3)]
    begun = [began, *(phase[-1].at for phase in phases)]
    reached = [models.throughput(phase, since) for phase, since in zip(phases, begun, strict=False)]
    fixed = [best[capacity] for capacity in capacities]
    targets = [REAL.target * alone[capacity] for capacity in capacities]
    # What the best settings of the phases would have taken for as many records.
    records = [sum(one.records for one in phase) for phase in phases]
    at_best = sum(count / rate for count, rate in zip(records, fixed, strict=True))
    return Result(
        of_best=[
            *(ours / theirs for ours, theirs in zip(reached, fixed, strict=True)),
            at_best / (trace.done[-1].at - began),
        ],
        p95=[models.p95(phase) / target for phase, target in zip(phases, targets, strict=True)],
        recovery=[
            models.recovery(phase, rate, 1.5 * target)
            for phase, rate, target in zip(phases, fixed, targets, strict=True)
        ],
        refused=sum(one.outcome != "ok" for one in trace.done),
        within=all(models.is_within(one.decision, REAL) for one in trace.done),
        workers=[statistics.mean(one.decision.workers for one in phase if one.decision) for phase in phases],
    )


def plot(trace: Trace, bounds: Bounds, path: Path) -> None:
    """Batch size, workers and latency of a run, batch by batch, one below the other."""
    import altair as alt
    import vl_convert

    rows = [
        {
            "batch": number,
            "seconds": done.seconds,
            "target": (done.decision.unloaded or 0) * bounds.target if done.decision else None,
            "workers": done.decision.workers if done.decision else None,
            "size": done.decision.batch_size if done.decision else None,
        }
        for number, done in enumerate(trace.done)
        if done.outcome == "ok"
    ]
    base = alt.Chart({"values": rows}, width=720, height=130).encode(x=alt.X("batch:Q", title=None))
    changes = alt.Chart({"values": [{"batch": at} for at in trace.starts[1:]]}).mark_rule(
        color=light("muted"), strokeDash=[4, 3]
    )
    changes = changes.encode(x="batch:Q")

    def line(name: str, title: str, color: str) -> Any:
        steps = base.mark_line(interpolate="step-after", strokeWidth=1.5, color=light(color))
        return steps.encode(y=alt.Y(f"{name}:Q", title=title, scale=alt.Scale(zero=name != "size")))

    points = base.mark_circle(size=9, opacity=0.6, color=light("blue")).encode(
        y=alt.Y("seconds:Q", title="seconds a batch; target")
    )
    chart = alt.vconcat(
        line("size", "records a batch", "teal") + changes,
        line("workers", "workers", "plum") + changes,
        points + line("target", "seconds a batch; target", "amber") + changes,
    ).configure(
        background="white",
        font="sans-serif",
        axis=alt.AxisConfig(gridColor=light("grid"), labelColor=light("muted"), titleColor=light("muted")),
        view=alt.ViewConfig(stroke=None),
    )
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    path.write_text(str(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=version)), encoding="utf-8")


def told(name: str, best: Any, runs: Sequence[Result]) -> dict[str, Any]:
    """Print what came out for a system, and give it as figures."""
    of_best = [statistics.mean(every) for every in zip(*(run.of_best for run in runs), strict=True)]
    p95 = [statistics.mean(every) for every in zip(*(run.p95 for run in runs), strict=True)]
    recovery = [max(every) for every in zip(*(run.recovery for run in runs), strict=True)]
    found = {
        "of_best_fixed": round(of_best[-1], 3),
        "of_best_fixed_worst_run": round(min(run.of_best[-1] for run in runs), 3),
        "of_best_fixed_of_each_phase": [round(one, 3) for one in of_best[:-1]],
        "p95_to_target": [round(one, 3) for one in p95],
        "p95_to_target_worst": round(max(max(run.p95) for run in runs), 3),
        "recovery_batches_worst": recovery,
        "refused": round(statistics.mean(run.refused for run in runs), 1),
    }
    phases = " ".join(f"{one:.2f}" for one in of_best[:-1])
    tails = " ".join(f"{one:.2f}" for one in p95)
    print(
        f"  {name:26} best fixed {best!s:10} ours/it {of_best[-1]:.2f} (phases {phases})"
        f"  p95/target {tails}  recovery <= {recovery} batches  refused {found['refused']}"
    )
    return found


def invariants_of(ratios: dict[str, Any], runs: Sequence[Result]) -> dict[str, bool]:
    """Whether the aims are reached."""
    every = ratios.values()
    return {
        "at least 0.9 of the best fixed setting": all(one["of_best_fixed"] >= 0.9 for one in every),
        "p95 within 1.5 times the target": all(max(one["p95_to_target"]) <= 1.5 for one in every),
        "recovered within 30 batches": all(max(one["recovery_batches_worst"]) <= 30 for one in every),
        "never beyond the bounds": all(run.within for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="five seeds instead of thirty")
    parser.add_argument("--real", action="store_true", help="also against a real HTTP server")
    parser.add_argument("--plot", type=Path, default=None, help="an SVG of one run")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    seeds = range(5 if arguments.quick else 30)
    rates, ratios, all_runs = {}, {}, []
    print(f"{len(seeds)} runs of {sum(phase.batches for phase in models.PHASES)} batches each")
    for system in models.SYSTEMS:
        best, setting = models.best_fixed(system)
        runs = [models.result(system, seed) for seed in seeds]
        all_runs += runs
        ratios[system.name] = told(system.name, setting, runs)
        rates[system.name] = {"best_fixed_records_per_second": [round(one) for one in best]}
    traced: tuple[Trace, Bounds] = _picture(models.SYSTEMS[2])
    if arguments.real:
        run, trace = asyncio.run(real())
        all_runs.append(run)
        ratios["real HTTP server"] = told("real HTTP server", "", [run])
        traced = trace, REAL
    if arguments.plot is not None:
        plot(*traced, arguments.plot)
    invariants, of_machine = invariants_of(ratios, all_runs), bench.machine(("httpx", "msgspec"))
    print("\n", invariants, of_machine)
    bench.write_json(arguments.json, rates=rates, ratios=ratios, invariants=invariants, of_machine=of_machine)


def _picture(system: System) -> tuple[Trace, Bounds]:
    bounds = Bounds(workers_max=system.workers_max)
    return models.simulate(system, models.PHASES, bounds=bounds, seed=1), bounds


if __name__ == "__main__":
    main()
