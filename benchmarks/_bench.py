"""What all benchmarks share: the machine, runs in turn in processes of their own, medians, ratios, JSON."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run in a process of its own: what the work (not the imports) took, and the peak of its memory."""

    seconds: float
    peak_rss_bytes: int
    cpu_seconds: float = 0.0


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """What the figures were taken on."""
    found: dict[str, Any] = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def memory_bytes() -> int:
    """The memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def measure(work: Callable[[], None]) -> None:
    """In a child: do the work, and tell the parent on stdout what it took."""
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(asdict(Run(seconds, peak, cpu_seconds))))


def run_child(script: str, arguments: Sequence[str]) -> Run:
    """Run `script` with `arguments`, which must end in `measure`, in a process of its own."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def interleave(cases: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Run all cases once, then all again: what else the machine does hits all of them alike."""
    results: dict[str, list[Run]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, run in cases.items():
            results[name].append(run())
            print(
                f"  round {number + 1}/{rounds} {name:28} {results[name][-1].seconds:8.3f} s", file=sys.stderr
            )
    return results


def median_seconds(runs: Sequence[Run]) -> float:
    """The median of the runs' seconds."""
    return statistics.median(run.seconds for run in runs)


def median_cpu_seconds(runs: Sequence[Run]) -> float:
    """The median of the runs' processor seconds: steadier than the clock on a machine that others use too."""
    return statistics.median(run.cpu_seconds for run in runs)


def ratio(runs: Sequence[Run], to: Sequence[Run], of: str = "seconds") -> float:
    """How many times as long as `to`: the median of the ratios round by round."""
    ratios: list[float] = [getattr(a, of) / getattr(b, of) for a, b in zip(runs, to, strict=True)]
    return statistics.median(ratios)


def peak_bytes(runs: Sequence[Run]) -> int:
    """The highest peak of the runs."""
    return max(run.peak_rss_bytes for run in runs)


def write_json(
    path: Path | None,
    *,
    rates: Mapping[str, Any],
    ratios: Mapping[str, Any],
    invariants: Mapping[str, Any],
    of_machine: Mapping[str, Any],
) -> None:
    """Write the figures to `path`, where one is given."""
    if path is not None:
        found = {"rates": rates, "ratios": ratios, "invariants": invariants, "machine": of_machine}
        path.write_text(json.dumps(found, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")
