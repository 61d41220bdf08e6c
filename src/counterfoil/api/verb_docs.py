"""The verbs' routes in the OpenAPI document, from the same structures that read and write them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from counterfoil.access import idempotency
from counterfoil.api.verbs import MOST_IN_BULK, ROUTES, Route
from counterfoil.vouchers.requests import REQUESTS, Outcome
from counterfoil.vouchers.types import Verb

_REF: Final = "#/components/schemas/"
_ABOUT: Final[dict[Verb, tuple[str, str]]] = {
    "issue": (
        "Hand out a voucher",
        "To a customer, or to whoever will have the code, on the merchant's word: within the stock, "
        "whatever the hour and the customer's limit. With a `voucher_id` this code of the pool.",
    ),
    "claim": (
        "Claim a voucher",
        "A customer takes a voucher of a campaign, within its stock, period, hours and limits.",
    ),
    "validate": (
        "Try a voucher on an order",
        "Changes nothing: says what it would take off, or every reason why it cannot be used.",
    ),
    "reserve": (
        "Reserve a voucher for an order",
        "Keeps a use, and the discount of the budget, until the order is paid or given up, or time runs out.",
    ),
    "release": ("Release a reservation", "The order came to nothing: what was kept is free again."),
    "redeem": (
        "Redeem a voucher",
        "It was used on an order. The same voucher for the same order gives the first redemption again.",
    ),
    "reverse": (
        "Reverse a redemption",
        "The order was given back, wholly or by line: so are the discount, the use and the counts, once.",
    ),
    "void": ("Void a voucher", "Makes it useless, for a reason."),
}
_PARAMETERS: Final = [
    {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Your own unique id of this request: repeated, it gives the first answer again.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": idempotency.LONGEST_KEY,
            "pattern": r"^[\x21-\x7e]+$",
        },
    },
    {
        "name": "Counterfoil-Merchant",
        "in": "header",
        "required": False,
        "description": "For an operator's key: the merchant to act for, by id or reference.",
        "schema": {"type": "string", "maxLength": 80},
    },
    {
        "name": "Counterfoil-Client-Address",
        "in": "header",
        "required": False,
        "description": "For whom a merchant's server asks: guessed codes are counted by it.",
        "schema": {"type": "string", "maxLength": 64},
    },
]


def add_to(schema: dict[str, Any]) -> None:
    """Add the verbs' routes, and the shapes that they use, to an OpenAPI document."""
    _, components = msgspec.json.schema_components(
        [*REQUESTS.values(), Outcome], ref_template=_REF + "{name}"
    )
    schema["components"]["schemas"].update(components)
    problem = schema["components"]["schemas"]["Problem"]
    problem["properties"]["reasons"] = {
        "type": "array",
        "items": {"$ref": _REF + "Reason"},
        "description": "Where a voucher's request was refused: every reason, the first one being `code`.",
    }
    for route in ROUTES.values():
        schema["paths"][route.path] = {"post": _operation(route)}


def _operation(route: Route) -> dict[str, Any]:
    summary, description = _ABOUT[route.verb]
    request: dict[str, Any] = {"$ref": _REF + REQUESTS[route.verb].__name__}
    answer: dict[str, Any] = {"$ref": _REF + "Outcome"}
    if route.bulk:
        summary += ", many at once"
        description = (
            f"Up to {MOST_IN_BULK:,} requests, decided in their order; one outcome for each. " + description
        )
        request = _bulk("requests", request, {"minItems": 1, "maxItems": MOST_IN_BULK})
        answer = _bulk("outcomes", answer, {})
    return {
        "tags": ["vouchers"],
        "summary": summary,
        "description": description,
        "operationId": f"{route.verb}_vouchers" if route.bulk else f"{route.verb}_voucher",
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {
                "description": "What became of it" if not route.bulk else "What became of each",
                "content": {"application/json": {"schema": answer}},
            },
            **{str(status): _problem(status) for status in (400, 401, 403, 404, 409, 413, 422, 429, 503)},
        },
        "security": [{"HTTPBearer": []}],
    }


def _bulk(name: str, item: dict[str, Any], bounds: dict[str, int]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: {"type": "array", "items": item, **bounds}},
    }


def _problem(status: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _REF + "Problem"}}}
    return {"description": HTTPStatus(status).phrase, "content": content}
