from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from counterfoil.cli.analyse import analyse as command
from counterfoil.linkage.analyse import analyse
from counterfoil.linkage.errors import FileError, LinkageError
from counterfoil.linkage.link import link
from counterfoil.linkage.report import ReportInput, render_report, write_report
from counterfoil.linkage.uplift import RANDOM, uplift
from tests.linkage.engines import ENGINES
from tests.linkage.test_analyse import (
    AUDIENCE,
    ISSUANCES,
    ORDERS,
    PAID,
    PERIOD,
    REDEMPTIONS,
    TRANSACTIONS,
    people,
)

POLARS = ENGINES["polars"]
SOURCES = {"issuances": ISSUANCES, "redemptions": REDEMPTIONS, "orders": ORDERS, "transactions": TRANSACTIONS}


def full_link() -> pl.DataFrame:
    found: pl.DataFrame = link(**POLARS.frames(SOURCES))  # type: ignore[arg-type]
    return found


def given(**more: Any) -> ReportInput:
    linked = full_link()
    frames = POLARS.frames({"audience": AUDIENCE})
    return ReportInput(
        full_link=linked,
        analysis=analyse(full_link=linked, **frames),
        taken_at=datetime(2024, 2, 1, tzinfo=UTC),
        **more,
    )


EVIDENCE = pl.DataFrame(
    {"evidence_level": [4, 0, None], "evidence_status": ["linked", "ambiguous", "unmatched"]}
)
BREAKS = pl.DataFrame({"voucher_id": ["v", None], "kind": ["a_b", "c"], "age_seconds": [86_400 * 100, None]})


def everything() -> ReportInput:
    compared = uplift(**POLARS.frames({"audience": people("targeted"), "transactions": PAID}), periods=PERIOD)
    return given(
        breaks=BREAKS, evidence=EVIDENCE, chance={4: 0.01}, uplifts=compared, unit="EUR", minor_digits=2
    )


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]


def test_the_report_asks_for_nothing_and_runs_nothing() -> None:
    text = render_report(everything())
    page = _Addresses()
    page.feed(text)
    assert page.found == []
    assert page.tags.isdisjoint({"script", "link", "iframe", "img", "object"})
    assert not re.search(r"url\((?!#)|@import", text)


def test_no_id_is_on_the_page_twice() -> None:
    ids = re.findall(r'\bid="([^"]+)"', render_report(everything()))
    assert len(ids) == len(set(ids))


def test_every_section_that_has_data_is_drawn_for_desk_and_phone() -> None:
    text = render_report(everything())
    for section in ("reach", "rates", "weeks", "times", "money", "evidence", "breaks"):
        assert f'id="{section}"' in text
    assert text.count("<svg") == 2 * 7


def test_a_report_without_extras_has_only_what_it_knows() -> None:
    text = render_report(given())
    assert 'id="evidence"' not in text
    assert 'id="breaks"' not in text
    assert "Against those held out" not in text
    assert "there is no log of pages" in text
    assert "Nobody was held out at random" in text


def test_a_targeted_comparison_is_told_as_no_effect() -> None:
    assert "chosen, not drawn at random" in render_report(everything())


def test_dark_colours_are_given_for_every_light_one() -> None:
    text = render_report(given())
    light = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', text))
    told = set(re.findall(r'\.chart \[fill="(#[0-9a-f]{6})"\]', text))
    assert light <= told


def test_what_a_caller_names_is_text_and_never_markup() -> None:
    names = pl.DataFrame({"campaign_id": ["a", "b"], "name": ["<b>bold</b>", "b"]})
    text = render_report(given(names=names, title="<script>alert(1)</script>"))
    assert "<script>" not in text
    assert "<b>bold" not in text


def test_a_report_of_nothing_is_still_a_report() -> None:
    linked = full_link().clear()
    analysis = analyse(full_link=linked)
    text = render_report(
        ReportInput(full_link=linked, analysis=analysis, taken_at=datetime(2024, 1, 1, tzinfo=UTC))
    )
    assert "What the data cannot say" in text


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    write_report(given(), tmp_path / "r.html")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_command_reads_and_writes_both_formats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    links, people_of = tmp_path / f"links.{ending}", tmp_path / f"people.{ending}"
    for path, frame in ((links, full_link()), (people_of, POLARS.frames({"audience": AUDIENCE})["audience"])):
        frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
    out, report = tmp_path / f"out.{ending}", tmp_path / "report.html"
    command(
        full_link=str(links),
        audience=str(people_of),
        out=out,
        report=report,
        by=("campaign_id", "channel"),
        json=True,
    )
    rows = pl.read_csv(out) if ending == "csv" else pl.read_parquet(out)
    assert rows["issued"].sum() == 5
    assert rows["redemptions"].sum() == 5
    assert "From those reached" in report.read_text()
    assert '"rows": ' in capsys.readouterr().out


def test_the_command_maps_columns(tmp_path: Path) -> None:
    full_link().rename({"campaign_id": "Aktion"}).write_parquet(tmp_path / "l.parquet")
    (tmp_path / "map.toml").write_text('[full_link]\ncampaign_id = "Aktion"\n')
    out, report = tmp_path / "o.csv", tmp_path / "r.html"
    command(full_link=str(tmp_path / "l.parquet"), columns=tmp_path / "map.toml", out=out, report=report)
    assert pl.read_csv(out)["issued"].sum() == 5


def test_the_command_names_the_file_that_is_wrong_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    for name, told in (
        ("empty.csv", "empty"),
        ("torn.parquet", "torn.parquet"),
        ("none.csv", "there is no file .*none.csv"),
    ):
        with pytest.raises(FileError, match=told):
            command(full_link=str(tmp_path / name), out=tmp_path / "out.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LinkageError, match=r"other.csv: full_link need the column 'voucher_id'"):
        command(full_link=str(tmp_path / "other.csv"), out=tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.csv", "other.csv", "torn.parquet"]


def _compared(tmp_path: Path) -> dict[str, Any]:
    full_link().write_parquet(tmp_path / "l.parquet")
    POLARS.frames({"audience": people("random")})["audience"].write_csv(tmp_path / "people.csv")
    POLARS.frames({"transactions": PAID})["transactions"].write_csv(tmp_path / "paid.csv")
    (tmp_path / "campaigns.csv").write_text("campaign_id,starts_at,ends_at\na,2024-01-01,2024-02-01\n")
    names = {"audience": "people", "transactions": "paid", "campaigns": "campaigns"}
    return {
        "full_link": str(tmp_path / "l.parquet"),
        "out": tmp_path / "o.csv",
        **{name: str(tmp_path / f"{file}.csv") for name, file in names.items()},
    }


def test_the_command_compares_with_a_holdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(**_compared(tmp_path), report=tmp_path / "r.html", json=True)
    (found,) = json.loads(capsys.readouterr().out)["uplift"]
    assert found["conversion"]["value"] == pytest.approx(0.25)
    assert (found["causal"], found["why"]) == (True, RANDOM)
    assert "Against those held out" in (tmp_path / "r.html").read_text()


def test_a_comparison_asks_for_all_that_it_needs(tmp_path: Path) -> None:
    given = _compared(tmp_path)
    del given["campaigns"]
    with pytest.raises(LinkageError, match="--campaigns"):
        command(**given)
    assert not (tmp_path / "o.csv").exists()
