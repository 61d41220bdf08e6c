"""What the documents say of codes, settings and events is what the source has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import get_args

import pytest

from counterfoil.app import RECORD_KINDS
from counterfoil.ids import PREFIXES
from counterfoil.linkage.tables import STORED_BREAK_KINDS
from counterfoil.points import refusals as points_refusals
from counterfoil.points.files.faults import RECORD_FAULTS
from counterfoil.points.files.terms import Rule
from counterfoil.points.files.types import FILE_STATES
from counterfoil.settings import Settings
from counterfoil.subscriptions import SUBSCRIBERS
from counterfoil.vouchers.refusals import REFUSALS
from counterfoil.worker.run import HANDLERS
from tests.rules.source import ROOT, calls, text_of, trees

DOCS = ROOT / "docs"


def _codes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code"):
                yield from filter(None, [text_of(node.value)])
            case ast.ClassDef():
                for line in node.body:
                    if isinstance(line, ast.Assign) and getattr(line.targets[0], "id", "") == "code":
                        yield from filter(None, [text_of(line.value)])
            case ast.AnnAssign(
                target=ast.Name(id="_HTTP_CODES" | "_INVALID_STATES"), value=ast.Dict() as table
            ):
                yield from filter(None, map(text_of, table.values))
            case ast.Assign(
                targets=[ast.Name(id="_HTTP_CODES" | "_INVALID_STATES")], value=ast.Dict() as table
            ):
                yield from filter(None, map(text_of, table.values))
    for name in ("FieldError", "Refusal"):
        for call in calls(tree, name):
            yield from filter(None, [text_of(call.args[1])] if len(call.args) > 1 else [])


def _all_codes() -> set[str]:
    found = {code for tree in trees().values() for code in _codes(tree)}
    # Made from the kind of the id that was asked for.
    kinds = {text_of(call.args[0]) for tree in trees().values() for call in calls(tree, "parse_id")}
    assert kinds <= set(PREFIXES)
    return found | {f"{kind}_not_found" for kind in kinds} | set(REFUSALS) | set(points_refusals.REFUSALS)


def _documented(name: str) -> list[str]:
    """What stands in the first column of the tables of a document."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_every_error_code_is_documented_once_and_none_is_documented_that_is_not_there() -> None:
    documented = _documented("errors.md")
    assert len(documented) == len(set(documented))
    assert set(documented) == _all_codes()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_default_and_its_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    variable = "DATABASE_URL" if name == "database_url" else f"COUNTERFOIL_{name.upper()}"
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", (DOCS / "settings.md").read_text(), re.MULTILINE)
    said = {variable: (default, meaning) for variable, default, meaning in rows}
    assert len(said) == len(Settings.model_fields)
    default, meaning = said[variable]
    if field.default_factory is None and field.default is not None:
        assert (
            default == f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
        )
    assert field.description is not None
    assert meaning.startswith(field.description.rstrip("."))


def test_every_event_has_a_publisher_and_every_job_of_it_a_handler() -> None:
    published = set()
    for tree in trees().values():
        for call in calls(tree, "publish"):
            published |= {text_of(argument) for argument in call.args} - {None}
    assert published == set(SUBSCRIBERS)
    assert {job for subscribers in SUBSCRIBERS.values() for job in subscribers} == set(HANDLERS)


def test_the_api_is_documented_with_every_kind_of_record_and_every_route() -> None:
    from tests.api.test_conformance import OPERATIONS

    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for kind in RECORD_KINDS.values():
        assert f"`{kind.name}`" in text or f"/v1/{kind.name.replace('_', '-')}/bulk" in text, kind.name
        for key in kind.key:
            assert f"`{key}`" in text
    for operation in OPERATIONS:
        path = operation.path.replace(":path}", "}")
        if not path.endswith("/bulk"):
            assert f"`{operation.method.upper()} {path}`" in text, operation.label


def test_every_code_of_a_record_of_a_partners_file_is_documented_and_every_state_of_a_file() -> None:
    documented = _documented("partner-files.md")
    rules = {*get_args(Rule), *RECORD_FAULTS} - {"duplicate"}
    assert not rules - set(documented)
    assert not set(FILE_STATES) - set(documented)


def test_every_kind_of_break_is_documented() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert not [kind for kind in STORED_BREAK_KINDS if f"`{kind}`" not in text]


def test_no_link_between_documents_is_dead() -> None:
    dead = []
    for document in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            if "://" not in target and not (document.parent / target).exists():
                dead.append(f"{document.relative_to(ROOT)}: {target}")
    assert not dead
