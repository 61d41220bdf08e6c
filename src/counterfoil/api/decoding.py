"""Request bodies by msgspec, with every wrong field named as the other routes name it."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from counterfoil.errors import FieldError, InvalidError

T = TypeVar("T", bound=msgspec.Struct)

_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class JsonError(InvalidError):
    """The body is not JSON at all."""

    code = "json_invalid"


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """A decoder of JSON bodies of this kind."""
    return msgspec.json.Decoder(kind)


def decode(reader: msgspec.json.Decoder[T], body: bytes | msgspec.Raw, *, at: str = "") -> T:
    """The request in a body; `InvalidError` names every field that is wrong, `JsonError` what is not JSON."""
    try:
        return reader.decode(body)
    except msgspec.ValidationError as error:
        first = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from None
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # It was wrong before the place where it stopped being JSON.
        raise _not_json(error) from None
    problems = _problems(reader, said, at) or (_problem(first, at),)
    noun = "value is" if len(problems) == 1 else "values are"
    detail = f"{len(problems)} {noun} wrong; `errors` says which and why."
    raise InvalidError(detail, code="invalid", errors=problems)


def _not_json(error: Exception) -> JsonError:
    return JsonError(f"The body is not JSON: {error}.")


def _problems(reader: msgspec.json.Decoder[T], said: Any, at: str) -> tuple[FieldError, ...]:
    """Each field looked at by itself, for msgspec stops at the first wrong one."""
    if not isinstance(said, dict):
        return ()
    problems = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(reader.type)}
    for name, field in fields.items():
        if name not in said:
            if field.required:
                problems.append(FieldError(f"{at}/{name}", "missing", "Field required"))
            continue
        try:
            msgspec.convert(said[name], field.type)
        except msgspec.ValidationError as error:
            problems.append(_problem(str(error), f"{at}/{name}"))
    unknown = sorted(said.keys() - fields.keys())
    problems += [
        FieldError(f"{at}/{_escaped(n)}", "extra_forbidden", "There is no such field") for n in unknown
    ]
    return tuple(problems)


def _problem(text: str, at: str) -> FieldError:
    place = _PLACE.search(text)
    steps = _STEP.findall(place[1]) if place else []
    pointer = at + "".join("/" + _escaped(name or index) for name, index in steps)
    return FieldError(pointer, "invalid_value", _PLACE.sub("", text))


def _escaped(step: Any) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
