"""Who may import whom."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

from tests.rules.source import PACKAGE, ROOT, trees

_NETWORK = {
    *("aiohttp", "asyncssh", "ftplib", "http", "httpx", "requests", "smtplib", "socket", "ssl", "urllib3"),
    *("uvicorn", "websockets"),
}
_ROOMS = ("access", "customers", "linkage", "merchants", "orders", "vouchers", "webhooks")
_SENDERS = ("webhooks/addresses.py", "webhooks/sending.py", "webhooks/jobs.py")
"""The parts of rooms that are about the network, and know no database (`jobs.py` brings the two together)."""


def test_the_contracts_of_imports_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120"}
    found = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert found.returncode == 0, found.stdout + found.stderr


def _imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_room_knows_the_network_or_the_web() -> None:
    for path, tree in trees().items():
        if path.split("/")[0] in _ROOMS and path not in _SENDERS:
            names = {name.split(".")[0] for name in _imported(tree)}
            assert not names & {*_NETWORK, "fastapi", "starlette"}, path


def test_the_clock_is_read_at_the_edges_only() -> None:
    edges = ("api/", "cli/", "dashboard/", "demo/", "worker/", "clock.py", "main.py", "serving.py")
    for path, tree in trees().items():
        if path.startswith(edges) or (path.endswith("/jobs.py") and path != "db/jobs.py"):
            continue
        reads = {
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"now", "utcnow", "today"}
        }
        assert not reads, path
        assert not {"counterfoil.clock"} & _imported(tree), path


def test_nothing_reaches_past_a_room_into_its_private_names() -> None:
    wrong = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("counterfoil"):
                wrong += [
                    f"{path}: {a.name}"
                    for a in node.names
                    if a.name.startswith("_") and a.name != "__version__"
                ]
    assert not wrong


def test_the_tests_use_no_mocks() -> None:
    # The words are put together here, so that this file does not name them itself.
    words = ("unittest." + "mock", "pytest_" + "mock", "Magic" + "Mock")
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], path


def test_there_is_a_file_for_the_type_checkers_of_those_who_import_us() -> None:
    assert (PACKAGE / "py.typed").exists()
