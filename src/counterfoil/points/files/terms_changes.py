"""Terms as programs and commands see and change them: an outside system's secret is never shown again."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from pydantic import ValidationError

from counterfoil.errors import FieldError, InvalidError
from counterfoil.points.files.layouts import Layout, builtin_layout, parse_layout
from counterfoil.points.files.terms import Terms

MASK: Final = "********"
"""Stands where a secret is; sent back, it means the secret that is there."""


def masked(terms: Terms) -> Terms:
    """The terms for others to read."""
    if terms.outside is None or terms.outside.secret is None:
        return terms
    return terms.model_copy(update={"outside": msgspec.structs.replace(terms.outside, secret=MASK)})


def read_terms(document: dict[str, Any]) -> Terms:
    """Terms from a document; `InvalidError` (`partner_invalid`) says all that is wrong with it."""
    try:
        return Terms.model_validate(document)
    except ValidationError as error:
        wrong = tuple(
            FieldError(
                "".join(f"/{part}" for part in ("terms", *e["loc"])),
                e["type"],
                e["msg"].removeprefix("Value error, "),
            )
            for e in error.errors(include_url=False)
        )
        told = "; ".join(f"{e.pointer}: {e.detail}" for e in wrong)
        raise InvalidError(f"The terms cannot be so: {told}", code="partner_invalid", errors=wrong) from error


def change_terms(before: Terms, changes: dict[str, Any]) -> Terms:
    """The terms after a change: a JSON merge patch (RFC 7396), in which null takes something away.

    The secret of an outside system stays where it is left out or masked, but only for the same address:
    nobody shall have it sent to another one. Raises `InvalidError` (`partner_invalid`, `secret_missing`).
    """
    document: dict[str, Any] = before.model_dump(mode="json")
    after = read_terms(_merged(document, changes))
    said = changes.get("outside")
    secret = said.get("secret", MASK) if isinstance(said, dict) else MASK
    if after.outside is None or secret != MASK:
        return after
    known = before.outside.secret if before.outside is not None else None
    if known is None:
        return after.model_copy(update={"outside": msgspec.structs.replace(after.outside, secret=None)})
    if before.outside is None or after.outside.url != before.outside.url:
        detail = "The outside system has another address: give its secret again, or null for none."
        raise InvalidError(
            detail,
            code="secret_missing",
            errors=(FieldError("/terms/outside/secret", "secret_missing", detail),),
        )
    return after.model_copy(update={"outside": msgspec.structs.replace(after.outside, secret=known)})


def _merged(before: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    after = dict(before) if isinstance(before, dict) else {}
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = _merged(after.get(name), value)
    return after


def read_layout(said: str | dict[str, Any]) -> Layout:
    """A layout by the name of one that comes with the platform, or from its document.

    Raises `InvalidError` (`layout_unknown`, `layout_invalid`).
    """
    return builtin_layout(said) if isinstance(said, str) else parse_layout(said)
