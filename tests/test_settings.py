from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from counterfoil.errors import InvalidError
from counterfoil.settings import Settings, load_settings

OURS = ("COUNTERFOIL_HOME", "DATABASE_URL", "COUNTERFOIL_DATABASE_URL", "XDG_DATA_HOME")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)


def test_every_wrong_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "COUNTERFOIL_PORT": "eighty",
        "COUNTERFOIL_POOL_SIZE": "1",
        "COUNTERFOIL_LOG_LEVEL": "loud",
        "COUNTERFOIL_STATEMENT_TIMEOUT_SECONDS": "0",
        "COUNTERFOIL_SESSION_HOURS": "-1",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidError) as caught:
        load_settings()
    assert caught.value.code == "settings_invalid"
    assert {problem.pointer for problem in caught.value.errors} == {f"/{name}" for name in wrong}
    assert all(name in caught.value.detail for name in wrong)


def test_without_variables_there_are_defaults() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)


@pytest.mark.parametrize("name", ["DATABASE_URL", "COUNTERFOIL_DATABASE_URL"])
def test_the_database_is_named_by_either_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "postgresql://somewhere/else")
    assert load_settings().database_url == "postgresql://somewhere/else"


def test_data_stand_where_the_desktop_keeps_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert load_settings().home == tmp_path / "counterfoil"


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    assert load_settings().database_url is None


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1
