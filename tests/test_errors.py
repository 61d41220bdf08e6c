from __future__ import annotations

import inspect
from typing import get_args

import pytest

from counterfoil import errors
from counterfoil.errors import EXIT_CODE, HTTP_STATUS, RETRYABLE, CounterfoilError, Kind

KINDS = get_args(Kind)
CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, CounterfoilError)]


def test_every_kind_has_a_status_and_an_exit_code() -> None:
    assert set(HTTP_STATUS) == set(EXIT_CODE) == set(KINDS)


def test_exit_codes_are_told_from_success_and_from_bugs() -> None:
    assert not {0, 1} & set(EXIT_CODE.values())


def test_whoever_may_try_again_is_told_so_by_the_status() -> None:
    assert {HTTP_STATUS[kind] for kind in RETRYABLE} == {429, 503}


@pytest.mark.parametrize("kind", [c for c in CLASSES if c is not CounterfoilError])
def test_every_class_is_of_a_kind_and_has_a_code(kind: type[CounterfoilError]) -> None:
    error = kind("It is so.")
    assert error.kind in KINDS
    assert error.code == kind.code
    assert str(error) == error.detail == "It is so."


def test_every_kind_has_a_class() -> None:
    assert {c.kind for c in CLASSES} == set(KINDS)


def test_a_code_of_its_own_leaves_that_of_the_class_alone() -> None:
    assert errors.NotFoundError("x", code="job_not_found").code == "job_not_found"
    assert errors.NotFoundError.code == "not_found"
