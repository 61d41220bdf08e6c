"""The shape of the source: names that say what is in a file, and nothing too long to read."""

from __future__ import annotations

import ast
import re

import pytest

from tests.rules.source import PACKAGE, ROOT, trees

MOST_LINES, MOST_OF_A_FUNCTION = 400, 50
_REFUSED = {
    "service",
    "services",
    "manager",
    "utils",
    "helpers",
    "common",
    "misc",
    "base",
    "core",
    "repository",
}
_OWN_FILES = {"types", "errors", "rules", "events", "tables", "queries", "jobs", "records", "__init__"}
"""What a room's file is called where it is not called by a noun of the room, such as `merchants.py`."""


@pytest.mark.parametrize("path", [p for p in trees() if "migrations/versions" not in p])
def test_a_file_can_be_read_in_one_go(path: str) -> None:
    lines = (PACKAGE / path).read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES
    for node in ast.walk(trees()[path]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            # What it does, not what it takes and what it says of itself: options of a command are long.
            told = len((ast.get_docstring(node) or "").splitlines())
            length = node.end_lineno - node.body[0].lineno + 1 - told
            assert length <= MOST_OF_A_FUNCTION, f"{path}: {node.name} has {length} lines"


def test_no_name_of_a_file_refuses_nothing() -> None:
    for path in trees():
        parts = {part.removesuffix(".py") for part in path.split("/")}
        assert not parts & _REFUSED, path


def test_every_file_and_every_public_function_says_what_it_is_for() -> None:
    for path, tree in trees().items():
        if "migrations/versions" not in path and tree.body:
            assert ast.get_docstring(tree), path


def test_tests_are_named_as_sentences() -> None:
    short = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            if name.count("_") < 3:
                short.append(f"{path.name}: {name}")
    assert not short


def test_nothing_names_a_host_from_which_packages_come() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        assert "://" not in (ROOT / name).read_text(encoding="utf-8")


def test_a_rooms_files_are_of_the_known_sorts_or_nouns() -> None:
    for path in trees():
        room, _, inside = path.removesuffix(".py").partition("/")
        name = inside.rpartition("/")[2]
        if room in {
            "access",
            "customers",
            "merchants",
            "orders",
            "points",
            "vouchers",
            "linkage",
            "webhooks",
        }:
            assert name in _OWN_FILES or re.fullmatch(r"[a-z]+(_[a-z]+)*", name), path
