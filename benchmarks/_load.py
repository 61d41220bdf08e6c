"""Servers as processes of their own, wrk that asks them, and what it costs them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

import _bench as bench
from _stage import STRIDE, Part, Stage
from counterfoil.db import embedded

CLIENTS: Final = 64
SCRIPT: Final = Path(__file__).with_name("verbs.lua")
PEERS: Final = Path(__file__).with_name("_peers.py")
START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Load(bench.Run):
    """One run under load. `cpu_seconds` is the server's, `peak_rss_bytes` is not measured."""

    requests: int = 0
    refused: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    database_cpu_seconds: float = 0.0
    """Of PostgreSQL, or of Redis."""

    @property
    def per_second(self) -> float:
        """Requests that were granted."""
        return (self.requests - self.refused) / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """The same for each second of a processor, the server's and the database's, without the client's."""
        return (self.requests - self.refused) / max(self.cpu_seconds + self.database_cpu_seconds, 1e-9)


@dataclass(frozen=True)
class Case:
    """Something to measure: where (a title), what, and how."""

    scene: str
    name: str
    run: Callable[[], Load]


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    port: int


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        number: int = asked.getsockname()[1]
        return number


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, log: Path, **environment: str) -> Iterator[Server]:
    """A server process, once it answers; stopped at the end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        _await(process, port, log)
        yield Server(process, port)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ours(stage: Stage, role: str = "api") -> contextlib.AbstractContextManager[Server]:
    """`counterfoil serve` on the stage's database."""
    port = free_port()
    command = [sys.executable, "-m", "counterfoil", "serve", "--role", role, "--port", str(port)]
    return serving(
        command,
        port,
        stage.home / f"serve-{role}.log",
        COUNTERFOIL_HOME=str(stage.home),
        COUNTERFOIL_LOG_LEVEL="warning",
        DATABASE_URL="",
    )


def peer(stage: Stage, case: str, address: str = "") -> contextlib.AbstractContextManager[Server]:
    """A peer (see `_peers.py`) on the stage's database, or on the `address` of another one."""
    port = free_port()
    command = [
        sys.executable, str(PEERS), case, "--port", str(port), "--merchant", str(stage.merchant_id),
        "--key", stage.key, "--address", address or stage.url,
    ]  # fmt: skip
    return serving(command, port, stage.home / f"{case}.log")


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError):
            connection.request("GET", "/readyz")
            connection.getresponse().read()
            return
        time.sleep(0.05)
    raise SystemExit(f"A server did not start:\n{log.read_text(errors='replace')[-2000:]}")


class Processor:
    """Processor seconds of processes and of all that they started, until now."""

    def __init__(self, *pids: int | None) -> None:
        self._pids = [pid for pid in pids if pid is not None]

    def seconds(self) -> float:
        """In all."""
        total = 0.0
        for pid in self._pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(pid)
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        # A backend that ended is in its parent's `children_` times.
                        total += times.user + times.system + times.children_user + times.children_system
        return total


def postgres(stage: Stage) -> Processor:
    """What the stage's PostgreSQL takes."""
    return Processor(embedded.info(stage.home).pid)


def missing() -> list[str]:
    """Which of the programs that this needs are not there."""
    return [name for name in ("wrk",) if shutil.which(name) is None]


def wrk(stage: Stage, port: int, seconds: int, verb: str, **words: object) -> dict[str, Any]:
    """Ask for so long over 64 connections; what wrk counted."""
    run = f"r{time.time_ns():x}"
    asked = {"verb": verb, "key": stage.key, "run": run, "seed": random.randrange(2**31), **words}
    command = [
        *("wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)),
        *(f"http://127.0.0.1:{port}", "--", *(f"{name}={value}" for name, value in asked.items())),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise SystemExit(f"wrk told nothing:\n{done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def claim_words(campaign: str, *, campaigns: int = 0, customers: int = 0) -> dict[str, object]:
    """What wrk is told of claims: of one campaign or any of `campaigns`; 0 customers: each another one."""
    return {"campaign": campaign, "campaigns": campaigns, "customers": customers}


def redeem_words(part: Part, first: int, *, vouchers: int = 0) -> dict[str, object]:
    """What wrk is told of redemptions: from which turn on; 0 vouchers: each another one."""
    return {"base": part.base, "size": part.size, "first": first, "stride": STRIDE, "vouchers": vouchers}


def measured(counted: Mapping[str, Any], server: float, database: float, *, may_refuse: bool = False) -> Load:
    """A run as wrk counted it; everything must have been granted."""
    if counted["broken"] or (counted["refused"] and not may_refuse):
        raise SystemExit(f"Not everything was granted: {counted}")
    return Load(
        counted["microseconds"] / 1e6,
        0,
        server,
        counted["requests"],
        counted["refused"],
        counted["p50"] / 1000,
        counted["p99"] / 1000,
        database,
    )


def asking(
    stage: Stage, server: Server, database: Processor, seconds: int, verb: str, words: Mapping[str, object]
) -> Load:
    """One run of wrk against a server, with what it cost."""
    process = Processor(server.process.pid)
    before = process.seconds(), database.seconds()
    counted = wrk(stage, server.port, seconds, verb, **words)
    return measured(counted, process.seconds() - before[0], database.seconds() - before[1])


def contest(cases: Sequence[Case], rounds: int) -> dict[str, dict[str, list[Load]]]:
    """Run all cases in turn, then all again; by scene and name."""
    found: dict[str, dict[str, list[Load]]] = {}
    for number in range(rounds):
        for case in cases:
            load = case.run()
            found.setdefault(case.scene, {}).setdefault(case.name, []).append(load)
            print(
                f"  round {number + 1}/{rounds} {case.scene[:34]:34} {case.name:24} {load.per_second:8,.0f}/s"
                f"  p99 {load.p99_ms:7.1f} ms",
                file=sys.stderr,
                flush=True,
            )
    return found


def middle(runs: Sequence[Load], of: str) -> float:
    """The median over the runs."""
    found: list[float] = [getattr(run, of) for run in runs]
    return statistics.median(found)


def micro(runs: Sequence[Load], of: str) -> float:
    """Microseconds of the processor for each request: the median over the runs."""
    found: list[float] = [getattr(run, of) / max(run.requests, 1) * 1e6 for run in runs]
    return statistics.median(found)


def report(
    scene: str, runs: Mapping[str, Sequence[Load]], base: str
) -> tuple[dict[str, Any], dict[str, float]]:
    """Print a table; gives its figures, and how many times as much `base` does as each."""
    rates: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    print(f"\n{scene:46} per s   p50 ms   p99 ms   CPU us: server  database   ours / it (CPU)")
    for name, its in runs.items():
        rates[name] = {
            "per_second": round(middle(its, "per_second")),
            "p50_ms": round(middle(its, "p50_ms"), 2),
            "p99_ms": round(middle(its, "p99_ms"), 2),
            "server_cpu_us": round(micro(its, "cpu_seconds")),
            "database_cpu_us": round(micro(its, "database_cpu_seconds")),
        }
        ratios[f"ours / {name}"] = round(bench.ratio(runs[base], its, "per_second"), 2)
        ratios[f"ours / {name} (CPU)"] = round(bench.ratio(runs[base], its, "per_cpu_second"), 2)
        row = rates[name]
        print(
            f"  {name:42} {row['per_second']:7,} {row['p50_ms']:8.1f} {row['p99_ms']:8.1f} "
            f"{row['server_cpu_us']:16} {row['database_cpu_us']:9} {ratios[f'ours / {name}']:11.2f} "
            f"({ratios[f'ours / {name} (CPU)']:.2f})"
        )
    return rates, ratios


def disk(directory: Path) -> dict[str, Any]:
    """The file system under a directory, and what it takes to have 8 kB on it for certain."""
    kind = max(
        (p for p in psutil.disk_partitions(all=True) if directory.resolve().is_relative_to(p.mountpoint)),
        key=lambda p: len(p.mountpoint),
    ).fstype
    taken = []
    path = directory / "sync"
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(8192))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    path.unlink()
    return {"file_system": kind, "sync_8kb_ms": round(statistics.median(taken) * 1000, 3)}
