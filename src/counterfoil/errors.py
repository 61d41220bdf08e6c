"""What can go wrong, in one shape for the API, the command line and the library.

Every error that a user can do something about is a `CounterfoilError`: a `kind` that decides how the
outside is told (HTTP status, exit code, retry or not) and a stable `code` that a program can rely on.
Anything else that is raised is a bug.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal[
    "invalid",
    "unauthenticated",
    "forbidden",
    "not_found",
    "conflict",
    "refused",
    "rate_limited",
    "unavailable",
]

HTTP_STATUS: Final[dict[Kind, int]] = {
    "invalid": 422,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "refused": 422,
    "rate_limited": 429,
    "unavailable": 503,
}
"""The one table from kinds to HTTP."""

EXIT_CODE: Final[dict[Kind, int]] = {
    "invalid": 2,
    "unauthenticated": 3,
    "forbidden": 3,
    "not_found": 4,
    "conflict": 5,
    "refused": 6,
    "rate_limited": 7,
    "unavailable": 7,
}
"""The one table from kinds to the exit code of a command. 1 is a bug, 0 success."""

RETRYABLE: Final[frozenset[Kind]] = frozenset({"rate_limited", "unavailable"})
"""Kinds for which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one value: a JSON pointer to it, a stable code, and what to do."""

    pointer: str
    code: str
    detail: str


class CounterfoilError(Exception):
    """An error with a kind, a stable code and a sentence that says what to do next."""

    kind: Kind = "invalid"
    code: str = "invalid"

    def __init__(self, detail: str, *, code: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.errors = errors

    @property
    def http_status(self) -> int:
        """The HTTP status of this error's kind."""
        return HTTP_STATUS[self.kind]

    @property
    def exit_code(self) -> int:
        """The exit code of this error's kind."""
        return EXIT_CODE[self.kind]


class InvalidError(CounterfoilError):
    """The input breaks a rule that can be named. Sending it again changes nothing."""

    kind: Kind = "invalid"
    code = "invalid"


class UnauthenticatedError(CounterfoilError):
    """It is not known who asks."""

    kind: Kind = "unauthenticated"
    code = "unauthenticated"


class ForbiddenError(CounterfoilError):
    """It is known who asks, and they may not."""

    kind: Kind = "forbidden"
    code = "forbidden"


class NotFoundError(CounterfoilError):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    kind: Kind = "not_found"
    code = "not_found"


class ConflictError(CounterfoilError):
    """The state of things does not allow it now."""

    kind: Kind = "conflict"
    code = "conflict"


class RefusedError(CounterfoilError):
    """Understood and possible, but a rule of the business says no."""

    kind: Kind = "refused"
    code = "refused"


class RateLimitedError(CounterfoilError):
    """Too much at once; the same request may succeed later."""

    kind: Kind = "rate_limited"
    code = "rate_limited"


class UnavailableError(CounterfoilError):
    """Something this needs is not there now; the same request may succeed later."""

    kind: Kind = "unavailable"
    code = "unavailable"
