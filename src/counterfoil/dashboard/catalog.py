"""The catalog of translations: `python -m counterfoil.dashboard.catalog` brings it up to date.

It collects every message of the code and the templates, merges them into the catalogs, and compiles these.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from counterfoil.dashboard.words import DOMAIN, LOCALES
from counterfoil.points.refusals import REFUSALS as OF_POINTS
from counterfoil.vouchers.refusals import REFUSALS

PACKAGE: Final = Path(__file__).parent
TRANSLATED: Final = ("zh",)
_METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
_KEYWORDS: Final[dict[str, Any]] = {
    "N_": None,
    "C_": ((1, "c"), 2),
    "_": None,
    "count": (1, 2),
    "count_of": (1, 2),
}


def collect() -> Catalog:
    """Every message that the pages can show, in English."""
    catalog = Catalog(project="Counterfoil", copyright_holder="", msgid_bugs_address="")
    found = extract_from_dir(
        PACKAGE,
        method_map=_METHODS,
        options_map={"templates/**.html": {"extensions": "jinja2.ext.i18n", "silent": "false"}},
        keywords=_KEYWORDS,
    )
    for name, _line, message, comments, context in sorted(found, key=lambda item: (item[0], item[1])):
        # Without line numbers: they would change the catalog whenever a line moves.
        catalog.add(message, None, [(Path(name).as_posix(), 0)], auto_comments=comments, context=context)
    for _, sentence in (*REFUSALS.values(), *OF_POINTS.values()):
        # The rooms say why not; the pages translate it.
        catalog.add(sentence, None, [("refusals.py", 0)])
    return catalog


def path_of(language: str) -> Path:
    """The catalog of a language; its compiled form stands beside it."""
    return LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def load(language: str) -> Catalog:
    """A catalog as it is kept."""
    with path_of(language).open("rb") as file:
        return read_po(file, locale=language, domain=DOMAIN)


def compiled(catalog: Catalog) -> bytes:
    """A catalog as gettext reads it."""
    buffer = BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def update(language: str) -> list[str]:
    """Merge the messages into a language's catalog and compile it; returns what is not translated yet."""
    path = path_of(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    catalog = load(language) if path.exists() else Catalog(locale=language, domain=DOMAIN)
    messages = collect()
    # Its time would make every run another content.
    messages.creation_date = catalog.creation_date
    catalog.update(messages, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    with path.open("wb") as file:
        write_po(file, catalog, width=110, omit_header=False, include_lineno=False, sort_output=True)
    path.with_suffix(".mo").write_bytes(compiled(load(language)))
    return [str(message.id) for message in load(language) if message.id and not _said(message.string)]


def _said(text: str | tuple[str, ...] | list[str] | None) -> bool:
    return bool(text) and (isinstance(text, str) or all(text or ()))


def main() -> int:
    """Bring every catalog up to date; 1 if something is not translated."""
    missing = [f"{language}: {message}" for language in TRANSLATED for message in update(language)]
    for line in missing:
        sys.stdout.write(f"not translated: {line}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
