"""`counterfoil points program`: what is earned, what a point is worth, when points expire."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from counterfoil import clock
from counterfoil.cli.merchant_work import MerchantName, doing, looking, text_of
from counterfoil.cli.platform import Json, show
from counterfoil.db.transactions import Tx
from counterfoil.errors import FieldError, InvalidError
from counterfoil.merchants.merchants import Merchant
from counterfoil.points import programs
from counterfoil.points.programs import Program


def program(
    *,
    merchant: MerchantName,
    set_from: Annotated[
        Path | None, Parameter(name="--set", help="A JSON file with the terms, as the API takes them.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the terms of the points program, or set them."""
    if set_from is None:
        found = looking(merchant, lambda tx, merchant_id: programs.get(tx, merchant_id=merchant_id))
        _show_program(found, as_json=json)
        return
    wanted = _program_of(set_from)

    async def work(tx: Tx, owner: Merchant) -> None:
        await programs.put(tx, merchant_id=owner.id, program=wanted, now=clock.now())

    doing(merchant, work)
    _show_program(wanted, as_json=json)


def _program_of(path: Path) -> Program:
    try:
        found = json_format.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{path}: it is not JSON: {error}", code="file_unreadable") from error
    try:
        return Program.model_validate(found)
    except ValidationError as error:
        problems = tuple(
            FieldError("/" + "/".join(map(str, e["loc"])), e["type"], e["msg"].removeprefix("Value error, "))
            for e in error.errors(include_url=False)
        )
        raise InvalidError("The program cannot be so.", code="invalid", errors=problems) from error


def _show_program(found: Program, *, as_json: bool) -> None:
    whole = found.model_dump(mode="json")
    if as_json:
        show([whole], as_json=True)
        return
    show(
        [
            {"what": name, "value": json_format.dumps(value) if isinstance(value, dict) else value}
            for name, value in whole.items()
        ],
        as_json=False,
        title="Points program",
    )
