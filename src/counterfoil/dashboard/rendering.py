"""Templates, one environment for each language."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from counterfoil.dashboard import labels, run_labels
from counterfoil.dashboard.preferences import LANGUAGES, THEMES, Language
from counterfoil.dashboard.words import words_of

STATIC: Final = Path(__file__).parent / "static"


@cache
def environment(language: Language) -> Environment:
    """The templates, speaking this language. Everything that is put into them is escaped."""
    words = words_of(language)
    made = Environment(
        loader=PackageLoader("counterfoil.dashboard"),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_translations(words.translations, newstyle=True)  # type: ignore[attr-defined]
    made.filters.update(
        {
            "number": words.number,
            "percent": words.percent,
            "money": words.money,
            "duration": words.duration,
            "day": words.day,
            "moment": words.moment,
            "minute": words.minute,
            "local_day": words.local_day,
            "age": words.age,
            "said": words.say,
            "segment": lambda text: quote(str(text), safe=""),
            "query": _query,
            "raw": lambda record: json.dumps(record, ensure_ascii=False, indent=2),
        }
    )
    made.globals.update(
        static=_static,
        words=words,
        labels=labels,
        runs=run_labels,
        languages=LANGUAGES,
        themes=THEMES,
        count_of=words.count,
    )
    return made


@cache
def _static(name: str) -> str:
    """The address of a static file, that changes with its content."""
    content = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={content}"


def _query(values: dict[str, Any], **changes: Any) -> str:
    """A query string; what is empty is left out."""
    merged = {name: value for name, value in {**values, **changes}.items() if value not in {None, ""}}
    return f"?{urlencode(merged)}" if merged else "?"
