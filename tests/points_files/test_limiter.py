"""The limiter, in virtual time: nothing here sleeps or looks at a clock, and every run is the same."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterfoil.points.files import limiter
from counterfoil.points.files.limiter import Bounds, Decision, Observation, State

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SEEDS = range(5)
SYSTEMS = range(5)


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        import _crediting

        yield _crediting


@pytest.fixture(scope="module")
def results(models: Any) -> dict[str, list[Any]]:
    return {system.name: [models.result(system, seed) for seed in SEEDS] for system in models.SYSTEMS}


def after(
    state: State, bounds: Bounds, *seconds: float, running: int | None = None, **more: Any
) -> tuple[State, Decision]:
    """The state after batches that took so long, all of the size and number that were decided."""
    assert seconds
    for one in seconds:
        seen = Observation(one, state.batch_size, running=running or state.workers, **more)
        state, decision = limiter.observe(state, seen, bounds)
    return state, decision


def at_full(bounds: Bounds) -> State:
    """A system that has never shown any strain: everything is allowed."""
    state = limiter.start(bounds)
    why = ""
    while why != "bounds":
        state, decision = after(state, bounds, 0.0002 * state.batch_size)
        why = decision.why
    return state


def test_it_reaches_nine_tenths_of_what_the_best_fixed_setting_does(results: dict[str, list[Any]]) -> None:
    for name, runs in results.items():
        assert statistics.mean(run.of_best[-1] for run in runs) >= 0.9, name


def test_in_every_phase_it_comes_near_the_setting_that_is_best_for_that_phase(
    results: dict[str, list[Any]],
) -> None:
    """A setting that knows the capacity beforehand; the system with a knee is the hardest."""
    for name, runs in results.items():
        for phase in zip(*(run.of_best[:-1] for run in runs), strict=True):
            assert statistics.mean(phase) >= 0.85, name


def test_95_of_100_batches_stay_within_one_and_a_half_times_the_target(
    results: dict[str, list[Any]],
) -> None:
    for name, runs in results.items():
        for phase in zip(*(run.p95 for run in runs), strict=True):
            assert statistics.mean(phase) <= 1.5, name


def test_it_recovers_within_30_batches_of_a_change_of_capacity(results: dict[str, list[Any]]) -> None:
    for name, runs in results.items():
        assert max(max(run.recovery) for run in runs) <= 30, name


def test_it_never_leaves_its_bounds_whatever_the_system_does(results: dict[str, list[Any]]) -> None:
    assert all(run.within for runs in results.values() for run in runs)


def test_where_nothing_is_strained_everything_is_allowed() -> None:
    bounds = Bounds()
    state = at_full(bounds)
    assert (state.workers, state.batch_size) == (4, 5000)
    assert after(state, bounds, *[1.0] * 4)[1].why == "bounds"


def test_it_begins_with_as_little_as_its_bounds_allow() -> None:
    state = limiter.start(Bounds(batch_size_min=1000, workers_min=2, workers_max=8))
    assert (state.workers, state.batch_size) == (2, 1000)


def test_few_workers_have_large_batches_before_more_workers_are_called() -> None:
    bounds = Bounds()
    seen = set()
    state = limiter.start(bounds)
    for _ in range(100):
        state, _ = after(state, bounds, 0.0002 * state.batch_size)
        seen.add((state.workers, state.batch_size))
        assert state.workers * state.batch_size == pytest.approx(state.limit, abs=state.workers)
    assert (1, 5000) in seen


def test_high_latency_lowers_the_limit_by_as_much_as_it_is_too_high() -> None:
    bounds = Bounds(target=1.5)
    state, decision = after(at_full(bounds), bounds, *[1.875] * 4)
    assert decision.why == "latency_high"
    assert state.limit == pytest.approx(20_000 * 1.25 / 1.875)


def test_one_slow_batch_changes_nothing() -> None:
    bounds = Bounds()
    state, _ = after(at_full(bounds), bounds, 1.0, 60.0, 1.0, 1.0)
    assert (state.workers, state.batch_size) == (4, 5000)


def test_a_refusal_cuts_the_limit_at_once_and_says_how_long_to_wait() -> None:
    bounds = Bounds()
    state, decision = after(at_full(bounds), bounds, 0.1, outcome="overloaded", retry_after=7.0)
    assert (decision.why, decision.pause) == ("overloaded", 7.0)
    assert state.limit == pytest.approx(16_000)


def test_a_refusal_without_a_time_to_wait_is_followed_by_a_pause_as_long_as_a_batch() -> None:
    bounds = Bounds()
    assert after(at_full(bounds), bounds, 0.1, outcome="overloaded")[1].pause == pytest.approx(1.0)
    assert after(limiter.start(bounds), bounds, 0.1, outcome="overloaded")[1].pause == 1.0


def test_refusals_of_what_began_before_the_cut_do_not_cut_again() -> None:
    bounds = Bounds()
    state, _ = after(at_full(bounds), bounds, 0.1, outcome="overloaded")
    seen = Observation(0.1, 5000, "overloaded", running=4)
    again, decision = limiter.observe(state, seen, bounds)
    assert (again.limit, decision.why) == (state.limit, "late")


def test_a_timeout_halves_the_limit() -> None:
    bounds = Bounds()
    state, decision = after(at_full(bounds), bounds, 30.0, outcome="timed_out")
    assert decision.why == "timed_out"
    assert state.limit == 10_000


def test_after_a_refusal_it_keeps_away_from_there_for_a_while_and_then_tries_again() -> None:
    bounds = Bounds()
    state, _ = after(at_full(bounds), bounds, 0.1, outcome="overloaded")
    limits = []
    for _ in range(40):
        state, _ = after(state, bounds, 0.0002 * state.batch_size)
        limits.append(state.limit)
    assert max(limits[: limiter.HELD_BACK - 1]) == 0.95 * 20_000
    assert limits[-1] == 20_000


def test_a_limit_that_is_not_used_is_not_raised() -> None:
    bounds = Bounds()
    state = limiter.start(bounds)
    while state.workers < 2:
        state, _ = after(state, bounds, 0.0002 * state.batch_size)
    state, _ = after(state, bounds, *[1.0] * 2)
    before = state.limit
    state, decision = after(state, bounds, *[0.6] * 12, running=1)
    assert (state.limit, decision.why) == (before, "unused")


def test_a_small_batch_at_the_end_of_a_file_says_nothing() -> None:
    bounds = Bounds()
    state = at_full(bounds)
    after_it, decision = limiter.observe(state, Observation(3.0, 17, running=4), bounds)
    assert decision.why == "small"
    assert after_it.round == state.round


def test_a_system_that_is_slower_for_good_is_measured_anew() -> None:
    """Each batch takes three times as long however few there are: fewer at a time would help nobody."""
    bounds, level = Bounds(), 0.0006
    state, reasons = at_full(bounds), set()
    for _ in range(60):
        state, decision = after(state, bounds, level * state.batch_size)
        reasons.add(decision.why)
    assert {"probing", "probed"} <= reasons
    assert state.unloaded == pytest.approx(level)
    assert (state.workers, state.batch_size) == (4, 5000)


def test_a_system_that_is_faster_for_good_is_measured_anew_as_well() -> None:
    bounds, reasons = Bounds(), set()
    state = at_full(bounds)
    for _ in range(100):
        state, decision = after(state, bounds, 0.00005 * state.batch_size)
        reasons.add(decision.why)
    assert "probed" in reasons
    assert state.unloaded == pytest.approx(0.00005, rel=0.05)


def test_under_a_load_that_lasts_the_unloaded_level_does_not_creep_up() -> None:
    """One batch at a time is worked on; whatever is sent besides waits."""
    bounds = Bounds()
    state = limiter.start(bounds)
    for _ in range(3_000):
        state, _ = after(state, bounds, 0.0002 * state.batch_size * state.workers)
        assert state.unloaded == pytest.approx(0.0002)
        assert state.limit <= 5000 * 1.5
    assert state.workers == 2


def test_a_batch_that_never_ends_does_not_keep_the_probe_waiting_for_ever() -> None:
    bounds = Bounds()
    state, decision = after(at_full(bounds), bounds, *[9.0] * 4)
    assert (decision.why, decision.workers) == ("probing", 1)
    for _ in range(20):
        state, decision = after(state, bounds, 1.0, running=2)
    assert state.resume is None
    assert state.workers > 1


def test_batches_of_others_through_the_same_limit_do_not_stop_it_from_learning() -> None:
    bounds = Bounds()
    state, _ = after(at_full(bounds), bounds, 30.0, outcome="timed_out")
    for _ in range(40):
        state, _ = after(state, bounds, 1.0, running=9)
    assert state.limit > 10_000


def test_bounds_that_change_hold_at_once() -> None:
    state = at_full(Bounds())
    state, decision = after(state, Bounds(workers_max=2, batch_size_max=3000), 0.5)
    assert (decision.workers, decision.batch_size) == (2, 3000)


@pytest.mark.parametrize(
    "given_bounds",
    [
        {"batch_size_min": 0},
        {"batch_size_min": 6000},
        {"workers_min": 0},
        {"workers_min": 5},
        {"target": 1.0},
        {"target": 11.0},
        {"colour": "red"},
    ],
)
def test_bounds_that_leave_nothing_between_them_are_refused(given_bounds: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given_bounds, Bounds)


SEEN = st.builds(
    Observation,
    seconds=st.floats(0, 1e6),
    records=st.integers(1, 10_000),
    outcome=st.sampled_from(["ok", "ok", "ok", "overloaded", "timed_out"]),
    running=st.integers(1, 20),
    retry_after=st.none() | st.floats(0, 1e5),
)
BOUNDS = st.builds(
    lambda size, more, workers, others, target: Bounds(size, size + more, workers, workers + others, target),
    st.integers(1, 5000),
    st.integers(0, 5000),
    st.integers(1, 8),
    st.integers(0, 16),
    st.floats(1.1, 4),
)


@given(bounds=BOUNDS, all_seen=st.lists(SEEN, max_size=120))
def test_whatever_is_seen_the_decision_is_within_bounds_and_the_state_is_json(
    bounds: Bounds, all_seen: list[Observation]
) -> None:
    state = limiter.start(bounds)
    for seen in all_seen:
        state, decision = limiter.observe(state, seen, bounds)
        assert bounds.workers_min <= decision.workers <= bounds.workers_max
        assert bounds.batch_size_min <= decision.batch_size <= bounds.batch_size_max
        assert decision.pause >= 0
        assert len(state.round) <= max(bounds.workers_max, 2 * bounds.workers_min, limiter.LEAST_ROUND)
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
