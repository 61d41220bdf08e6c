"""What docs/linkage.md shows is what happens."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest

from counterfoil.cli.app import app
from counterfoil.linkage.types import (
    BREAK_COLUMNS,
    FIELDS,
    LINK_COLUMNS,
    BreakKind,
    IssuanceStage,
    LinkStatus,
    RedemptionStage,
    Source,
)

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "linkage.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def at_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory as a reader has it, with nothing in it but the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)


def _following(place: int) -> str:
    language, text = BLOCKS[place + 1]
    assert language == "text", "a block that shows something is followed by what it shows"
    return str(text)


@pytest.mark.usefixtures("at_root")
def test_the_command_of_the_guide_prints_what_the_guide_says(capsys: pytest.CaptureFixture[str]) -> None:
    (place,) = [place for place, (language, _) in enumerate(BLOCKS) if language == "sh"]
    words = shlex.split(BLOCKS[place][1].replace("\\\n", " "))
    assert words.pop(0) == "counterfoil"
    with contextlib.suppress(SystemExit):
        app(words)
    told = capsys.readouterr().out
    assert told.startswith(_following(place))
    assert Path("full_link.csv").read_text().count("\n") == 14
    assert Path("breaks.csv").read_text().count("\n") == 14


@pytest.mark.usefixtures("at_root")
def test_the_python_of_the_guide_prints_what_the_guide_says() -> None:
    names: dict[str, Any] = {}
    places = [place for place, (language, _) in enumerate(BLOCKS) if language == "python"]
    assert len(places) == 2
    for place in places:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(BLOCKS[place][1], "docs/linkage.md", "exec"), names)
        assert out.getvalue() == _following(place)


def test_every_column_stage_status_and_kind_is_documented() -> None:
    words = {*LINK_COLUMNS, *BREAK_COLUMNS}
    for literal in (IssuanceStage, RedemptionStage, LinkStatus, BreakKind):
        words |= set(get_args(literal))
    sources: tuple[Source, ...] = ("issuances", "redemptions", "orders", "transactions")
    words |= {field.name for source in sources for field in FIELDS[source]}
    assert sorted(word for word in words if f"`{word}`" not in TEXT) == []
