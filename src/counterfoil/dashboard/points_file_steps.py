"""The way of a file in steps, and how far it is, as the page shows it: at once and again while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from counterfoil.dashboard.visits import Visit
from counterfoil.points.files.files import File
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.queries import Progress

StepState = Literal["done", "now", "waiting", "failed", "skipped"]
OUTCOMES: Final = ("credited", "rejected", "duplicate")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a file's way: whether it is done, and when."""

    name: str
    state: StepState
    at: datetime | None = None


def steps_of(file: File, partner: Partner) -> list[Step]:
    """Received, opened, credited, answered, and sent to the partner's server or fetched by it."""
    found = [Step("received", "done", file.received_at)]
    if file.state == "rejected":
        found += [Step("opened", "failed", file.decided_at), Step("credited", "skipped")]
    else:
        found.append(Step("opened", "done" if file.opened_at else "now", file.opened_at))
        found.append(_credited(file))
    answered: StepState = "done" if file.answered_at else "now" if file.decided_at else "waiting"
    if not file.answered_at and file.answer_error:
        answered = "failed"
    found.append(Step("answered", answered, file.answered_at))
    if file.sent_at or (partner.terms.server and not file.confirmed_at):
        sending: StepState = "failed" if file.answer_error else "now"
        state: StepState = "done" if file.sent_at else sending if file.answered_at else "waiting"
        found.append(Step("sent", state, file.sent_at))
    if file.confirmed_at or not partner.terms.server:
        found.append(Step("confirmed", "done" if file.confirmed_at else "waiting", file.confirmed_at))
    return found


def _credited(file: File) -> Step:
    if file.state == "repeated":
        return Step("credited", "skipped")
    if file.state == "credited":
        return Step("credited", "done", file.decided_at)
    return Step("credited", "now" if file.state == "crediting" else "waiting")


def is_running(file: File) -> bool:
    """Whether something of it goes on by itself in the next seconds."""
    return file.state in {"received", "crediting"} or (file.answered_at is None and file.answer_error is None)


def stage_of(file: File) -> str:
    """A word that is another one whenever the page would look another."""
    marks = (file.answered_at, file.sent_at, file.confirmed_at, file.answer_error)
    return file.state + "".join("1" if mark else "0" for mark in marks)


def told(visit: Visit, file: File, so_far: Progress) -> dict[str, Any]:
    """Every figure as text in the reader's language, and every bar as its place and width, of 100."""
    words, figures, bars, x = visit.words, dict[str, str](), dict[str, tuple[float, float]](), 0.0
    whole = file.records or 0
    for outcome in OUTCOMES:
        number = getattr(so_far, outcome)
        width = 100 * number / whole if whole else 0.0
        figures[outcome] = words.number(number)
        figures[f"{outcome}.points"] = words.number(getattr(so_far, f"{outcome}_points"))
        bars[outcome] = (round(x, 2), round(width, 2))
        x += width
    figures["waiting"] = words.number(max(whole - so_far.decided, 0))
    figures["decided"] = words.number(so_far.decided)
    figures["percent"] = words.percent(so_far.decided / whole) if whole else words.percent(0)
    figures["workers"] = words.number(so_far.workers)
    figures["batches"] = words.number(so_far.batches_done)
    figures["rate"] = words.number(round(so_far.per_second)) if so_far.per_second else "–"
    return {"state": stage_of(file), "figures": figures, "bars": bars}
