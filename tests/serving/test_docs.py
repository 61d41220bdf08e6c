"""The examples of docs/vouchers.md, docs/points.md and docs/partner-files.md do what the pages say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.serving.conftest import Server, make_shop

DOCS = Path(__file__).parents[2] / "docs"
LEFT = {
    "vouchers": ("SELECT state, uses FROM vouchers", [("redeemed", 1)]),
    "points": (
        "SELECT name, balance FROM points_accounts WHERE source IS NULL ORDER BY name",
        [("ann", 564), ("bob", 0)],
    ),
    "partner-files": (
        "SELECT name, balance FROM points_accounts WHERE source IS NULL ORDER BY name",
        [("ann", 1000), ("bob", 240)],
    ),
}
"""What is there when all examples of a page were executed."""
BLOCK = re.compile(r"```(sh|json)\n(.*?)```", re.DOTALL)


def like(found: Any, told: Any, where: str = "") -> None:
    """Whether an answer is what the page tells, where it does not say `...`."""
    if told == "...":
        return
    if isinstance(told, dict):
        assert found.keys() == told.keys(), where
        for name in told:
            like(found[name], told[name], f"{where}/{name}")
    elif isinstance(told, list):
        assert len(found) == len(told), where
        for number, (one, other) in enumerate(zip(found, told, strict=True)):
            like(one, other, f"{where}/{number}")
    else:
        assert found == told, where


def _run(script: str, place: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-eu", "-o", "pipefail", "-c", script]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=place, env=env, timeout=120
    )


def _command(path: Path) -> None:
    """`counterfoil` of these sources."""
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m counterfoil "$@"\n')
    path.chmod(0o755)


@pytest.mark.skipif(shutil.which("gpg") is None, reason="GnuPG is not installed: apt-get install gnupg")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt-get install curl")
@pytest.mark.parametrize("page", LEFT)
async def test_the_examples_of_the_page_answer_what_it_tells(
    page: str, serve: Callable[..., Server], database: URL, engine: AsyncEngine, tmp_path: Path
) -> None:
    address = database.render_as_string(hide_password=False)
    server = serve(DATABASE_URL=address, role="all")
    shop = await make_shop(engine)
    server.wait()
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))
    key = shop.headers["authorization"].removeprefix("Bearer ")
    # One script, so that a block knows the variables of those before it; each one's answers end with a mark.
    script = "\necho; echo '<end>'\n".join(text for kind, text in blocks if kind == "sh")
    _command(tmp_path / "bin" / "counterfoil")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    env = {**os.environ, "HOST": server.url, "KEY": key, "DATABASE_URL": address, "PATH": path}
    async with engine.connect() as connection:
        env["SHOP"] = (await connection.exec_driver_sql("SELECT reference FROM merchants")).scalar_one()
    done = await asyncio.to_thread(_run, script, tmp_path, env)
    assert done.returncode == 0, done.stderr
    answers = iter(done.stdout.split("<end>\n"))
    answer, compared = "", 0
    for kind, text in blocks:
        if kind == "sh":
            answer = next(answers)
            assert '"status":5' not in answer
        else:
            like(json.loads(answer.strip().splitlines()[-1]), json.loads(text))
            compared += 1
    assert compared >= 5
    async with engine.connect() as connection:
        statement, left = LEFT[page]
        found = await connection.exec_driver_sql(statement)
        assert list(map(tuple, found)) == left
