"""What `docs/webhooks.md` says of events, the schedule and limits is what the code has."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from counterfoil.webhooks import attempts, envelope, jobs, rules, sending
from counterfoil.webhooks.types import EVENT_TYPES
from counterfoil.worker.housekeeping import KEEP_WEBHOOKS
from tests.builders import NOW
from tests.rules.source import ROOT

TEXT = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")


def test_every_type_of_event_has_an_example_with_the_envelope_that_is_sent() -> None:
    examples = re.findall(r"^### `([\w.]+)`\n\n[^\n]+\n\n```json\n(.+?)\n```", TEXT, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in examples] == list(EVENT_TYPES)
    for name, text in examples:
        shown = json.loads(text)
        made = json.loads(
            envelope.body(
                merchant="grocer",
                message_id=shown["id"],
                event_type=name,
                subject=shown["subject"],
                time=NOW,
                data=shown["data"],
            )
        )
        assert shown == made
        assert rules.message_id(shown["id"]) == shown["id"]


def test_the_schedule_and_the_limits_are_those_of_the_code() -> None:
    (row,) = re.findall(r"^\| after \| (.+) \|$", TEXT, re.MULTILINE)
    units = {"s": "seconds", "min": "minutes", "h": "hours"}
    waits = [timedelta(0)]
    for cell in row.split(" | ")[1:]:
        number, unit = cell.split(" ")
        waits.append(timedelta(**{units[unit]: int(number)}))
    assert tuple(waits) == rules.SCHEDULE
    assert f"at most {attempts.PER_ENDPOINT} attempts" in TEXT
    assert f"makes {jobs.AT_ONCE} in all" in TEXT
    assert f"and {jobs.AT_ENDPOINTS_THAT_FAIL} of them at endpoints that fail" in TEXT
    assert f"{sending.TIMEOUT.total_seconds():.0f} seconds in all" in TEXT
    assert f"{sending.MOST_READ // 1024} KB of the answer" in TEXT
    assert f"{rules.LONGEST_EXCERPT:,} characters" in " ".join(TEXT.split())
    assert f"kept for {KEEP_WEBHOOKS.days} days" in TEXT
    assert rules.FAILING_FOR.days == 5
    assert "failed for five days" in TEXT
