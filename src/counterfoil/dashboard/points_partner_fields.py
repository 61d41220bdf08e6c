"""The fields of a partner's form: from its terms to what stands in them, and back to what they mean.

A field is named by where its value belongs in the terms. `Terms` decides what is allowed; what it says of a
value is shown beside the field that the value came from.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any, Final

from pydantic import ValidationError

from counterfoil.dashboard.campaign_fields import FILL_IN, Reader
from counterfoil.dashboard.field_problems import FORM, sentence_of
from counterfoil.dashboard.points_partner_labels import RULES
from counterfoil.dashboard.words import N_
from counterfoil.errors import InvalidError
from counterfoil.points.files import ssh_keys
from counterfoil.points.files.layouts import BUILTIN_LAYOUTS, Layout, builtin_layout, parse_layout
from counterfoil.points.files.partners import Partner
from counterfoil.points.files.terms import Terms

OWN_LAYOUT: Final = "own"
_TEXTS: Final = ("sender", "receiver", "environment", "version")
_COUNTS: Final = ("points_min", "points_max", "days_back", "days_ahead")
_BOUNDS: Final = ("batch_size_min", "batch_size_max", "workers_min", "workers_max")
_SERVER: Final = ("host", "user", "incoming", "responses", "pattern", "marker")
_FROM_MSGSPEC: Final = re.compile(r"(?:Value error, )?(.*?)(?: - at `\$\.?([^`]*)`)?", re.S)

# Where the message of a check names the fields that contradict each other.
_CONTRADICTIONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("batch_size_min must", "limiter.batch_size_min", N_("At least 1, and not more than the largest batch.")),
    ("workers_min must", "limiter.workers_min", N_("At least 1, and not more than the most workers.")),
    ("target must", "limiter.target", N_("More than 1, and at most 10.")),
)


def values_of(partner: Partner) -> dict[str, str]:
    """What stands in the form of a partner. A secret is never shown again."""
    terms = partner.terms
    values: dict[str, Any] = {
        "name": partner.name,
        "was": partner.changed_at.isoformat(),
        **{name: getattr(terms, name) for name in (*_TEXTS, *_COUNTS)},
        "offers": "\n".join(terms.offers or ()),
        **{f"reject.{rule}": "on" for rule in terms.reject_file_on},
        **{f"limiter.{name}": getattr(terms.limiter, name) for name in (*_BOUNDS, "target")},
        "way": "server" if terms.server else "sent",
        "server.port": 22,
        "server.complete": "rename",
        "server.marker": ".done",
        "server.pattern": "*.pgp, *.gpg, *.asc",
        "collect_every_seconds": terms.collect_every_seconds,
        "credits": "outside" if terms.outside else "ours",
        "outside.mode": "batch",
        "outside.timeout_seconds": 30,
        "outside.concurrency": 8,
        **_layout_values(partner.layout),
    }
    if terms.server:
        values |= {
            **{f"server.{name}": getattr(terms.server, name) for name in _SERVER},
            "server.port": terms.server.port,
            "server.complete": terms.server.complete,
            "server.done": terms.server.done,
            "server.host_keys": "\n".join(terms.server.host_keys),
        }
    if terms.outside:
        outside = terms.outside
        values |= {
            "outside.url": outside.url,
            "outside.mode": outside.mode,
            "outside.timeout_seconds": f"{outside.timeout_seconds:g}",
            "outside.concurrency": outside.concurrency,
        }
    return {name: str(value) for name, value in values.items() if value is not None}


def _layout_values(layout: Layout) -> dict[str, str]:
    name = layout_name(layout)
    if name != OWN_LAYOUT:
        return {"layout": name}
    document = layout.model_dump(mode="json", exclude_unset=True)
    return {"layout": OWN_LAYOUT, "document": json.dumps(document, ensure_ascii=False, indent=1)}


def layout_name(layout: Layout) -> str:
    """Which of the layouts that come with the platform it is, or that it is the partner's own."""
    return next((name for name in BUILTIN_LAYOUTS if builtin_layout(name) == layout), OWN_LAYOUT)


def new_values() -> dict[str, str]:
    """The form of a partner to be added, with sensible beginnings."""
    terms = Terms(sender="-", receiver="-")
    values: dict[str, Any] = {
        "first_sequence": 1,
        "layout": "delimited",
        **{name: getattr(terms, name) for name in ("environment", "version", *_COUNTS)},
        **{f"limiter.{name}": getattr(terms.limiter, name) for name in (*_BOUNDS, "target")},
        "way": "sent",
        "server.port": 22,
        "server.complete": "rename",
        "server.marker": ".done",
        "server.pattern": "*.pgp, *.gpg, *.asc",
        "collect_every_seconds": terms.collect_every_seconds,
        "credits": "ours",
        "outside.mode": "batch",
        "outside.timeout_seconds": 30,
        "outside.concurrency": 8,
    }
    return {name: str(value) for name, value in values.items()}


def read_terms(reader: Reader, *, before: Terms | None) -> Terms | None:
    """The terms that the fields mean, or None: then `reader.errors` says why."""
    raw: dict[str, Any] = {
        **{name: reader.text(name) for name in _TEXTS},
        **{name: reader.count(name, required=True) for name in _COUNTS},
        "offers": _lines(reader, "offers") or None,
        "reject_file_on": [rule for rule in RULES if reader.ticked(f"reject.{rule}")],
        "limiter": {
            **{name: reader.count(f"limiter.{name}", required=True) for name in _BOUNDS},
            "target": reader.decimal("limiter.target", required=True),
        },
        "server": _server(reader),
        "outside": _outside(reader, before),
        "collect_every_seconds": reader.count("collect_every_seconds", required=True),
    }
    for name in _TEXTS:
        if raw[name] is None:
            reader.wrong(name, FILL_IN)
    if reader.errors:
        return None
    try:
        terms = Terms.model_validate(raw)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            _note(reader, tuple(map(str, problem["loc"])), problem)
        return None
    if terms.points_min > terms.points_max:
        reader.wrong("points_max", N_("Not less than the fewest."))
        return None
    return terms


def _note(reader: Reader, loc: tuple[str, ...], problem: Any) -> None:
    for beginning, name, sentence in _CONTRADICTIONS:
        if beginning in problem["msg"]:
            reader.wrong(name, sentence)
            return
    if problem["type"] != "value_error":
        message, values = sentence_of(problem)
        reader.wrong(loc[0] if loc else FORM, message, **values)
        return
    found = _FROM_MSGSPEC.fullmatch(problem["msg"])
    why, place = (found[1], found[2]) if found else (problem["msg"], None)
    name = ".".join([*loc, *((place or "").split("[")[0].split("."))]).strip(".")
    reader.wrong(name or FORM, N_("This value is not allowed here: %(why)s."), why=why.rstrip("."))


def _lines(reader: Reader, name: str) -> list[str]:
    return list(dict.fromkeys(filter(None, map(str.strip, reader.values.get(name, "").splitlines()))))


def _server(reader: Reader) -> dict[str, Any] | None:
    if reader.values.get("way") != "server":
        return None
    found: dict[str, Any] = {name: reader.text(f"server.{name}") for name in _SERVER}
    for name in ("host", "user", "incoming", "responses", "pattern"):
        if found[name] is None:
            reader.wrong(f"server.{name}", FILL_IN)
    found["host_keys"] = _lines(reader, "server.host_keys")
    if not found["host_keys"]:
        reader.wrong("server.host_keys", FILL_IN)
    for number, line in enumerate(found["host_keys"], 1):
        try:
            ssh_keys.read_public_key(line)
        except InvalidError:
            reader.wrong(
                "server.host_keys",
                N_(
                    "Line %(number)s is no SSH key of a kind that is accepted: ssh-ed25519, ecdsa or ssh-rsa."
                ),
                number=number,
            )
    found["marker"] = found["marker"] or ".done"
    return {
        **found,
        "port": reader.count("server.port", required=True),
        "complete": reader.values.get("server.complete", ""),
        "done": reader.text("server.done"),
    }


def _outside(reader: Reader, before: Terms | None) -> dict[str, Any] | None:
    if reader.values.get("credits") != "outside":
        return None
    url = reader.text("outside.url")
    if url is None:
        reader.wrong("outside.url", FILL_IN)
    secret = reader.text("outside.secret")
    kept = before.outside if before else None
    if secret is None and kept is not None and kept.url == url:
        # Only for the address that it was given for: who changes that must know it.
        secret = kept.secret
    return {
        "url": url,
        "mode": reader.values.get("outside.mode", ""),
        "timeout_seconds": reader.decimal("outside.timeout_seconds", required=True),
        "concurrency": reader.count("outside.concurrency", required=True),
        "secret": secret,
    }


def read_layout(reader: Reader) -> Layout | None:
    """The layout that was chosen or pasted, or None: then `reader.errors` says why."""
    chosen = reader.values.get("layout", "")
    if chosen in BUILTIN_LAYOUTS:
        return builtin_layout(chosen)
    if chosen != OWN_LAYOUT:
        reader.wrong("layout", N_("Choose one."))
        return None
    text = reader.text("document")
    if text is None:
        reader.wrong("document", FILL_IN)
        return None
    try:
        document = json.loads(text) if text.startswith("{") else tomllib.loads(text)
        return parse_layout(document)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        reader.wrong("document", N_("This is neither TOML nor JSON: %(why)s."), why=str(error).rstrip("."))
    except InvalidError as error:
        said = "; ".join(f"{one.pointer or '/'}: {one.detail.rstrip('.')}" for one in error.errors)
        reader.wrong("document", N_("It cannot be used: %(why)s."), why=said[:1000])
    return None
