"""Where transactions begin, and that nothing else ends them."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module

from counterfoil.db.transactions import ReadTx, Tx
from tests.rules.source import calls, trees

_EDGES = ("api/", "cli/", "dashboard/", "demo/", "worker/", "main.py", "serving.py")
_OWN = ("db/transactions.py", "db/migrate.py", "db/engine.py", "db/embedded/")
"""What makes transactions out of connections."""


def _is_edge(path: str) -> bool:
    return path.startswith(_EDGES) or (path.endswith("/jobs.py") and path != "db/jobs.py")


def _begins(tree: ast.AST) -> set[str]:
    """Calls of our `begin` and `read` (not of a file's `read` method)."""
    return {
        name for name in ("begin", "read") for call in calls(tree, name) if isinstance(call.func, ast.Name)
    }


def test_transactions_begin_at_the_edges_and_in_jobs_only() -> None:
    wrong = {path for path, tree in trees().items() if _begins(tree) and not _is_edge(path)}
    assert not wrong


def test_no_verb_commits_or_rolls_back() -> None:
    wrong = {
        path
        for path, tree in trees().items()
        if not path.startswith(_OWN)
        and any(True for name in ("commit", "rollback", "begin_nested") for _ in calls(tree, name))
    }
    # DuckDB, not our database: the demo writes its own files.
    assert not {path for path in wrong if not path.startswith("demo/")}


def test_connections_are_taken_in_one_place() -> None:
    allowed = (*_OWN, "cli/database.py")
    for path, tree in trees().items():
        if not path.startswith(allowed):
            on_engine = [
                call
                for call in calls(tree, "connect")
                if isinstance(call.func, ast.Attribute) and "engine" in ast.dump(call.func.value)
            ]
            assert not on_engine, path


def test_verbs_are_keyword_only_after_their_transaction() -> None:
    wrong = []
    for path in trees():
        room, _, name = path.partition("/")
        if (
            room not in {"access", "linkage", "merchants", "orders", "points", "vouchers", "webhooks", "db"}
            or "/" in name
        ):
            continue
        module = import_module(f"counterfoil.{room}.{name.removesuffix('.py')}")
        for verb in vars(module).values():
            if inspect.iscoroutinefunction(verb) and verb.__module__ == module.__name__:
                parameters = list(inspect.signature(verb, eval_str=True).parameters.values())
                first = parameters[0].annotation if parameters else None
                if first in {Tx, ReadTx} and not verb.__name__.startswith("_"):
                    rest = [p for p in parameters[1:] if p.kind is not inspect.Parameter.KEYWORD_ONLY]
                    wrong += [f"{path}: {verb.__name__}({p.name})" for p in rest]
    # The job, and the kind of records, are what these two are about.
    allowed = {"db/outbox.py: waiting(job)", "db/records.py: load(kind)"}
    assert not set(wrong) - allowed
