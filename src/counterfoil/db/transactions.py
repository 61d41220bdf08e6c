"""Where transactions begin and end. Only the edges and `jobs.py` call `begin`; verbs take what it gives.

    async with begin(engine) as tx:
        outcome = await redemptions.redeem(tx, ...)
    return outcome          # outside the block: the commit precedes the answer

`Tx` writes, `ReadTx` cannot: PostgreSQL itself holds it to reading.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg
from sqlalchemy import CursorResult, Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFreeError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from counterfoil.errors import ConflictError, CounterfoilError, InvalidError, UnavailableError

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


_TRANSLATED: Final = (
    DBAPIError,
    NoConnectionFreeError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


class Driven(Protocol):
    """A transaction as far as verbs with statements of their own need it: the driver inside it."""

    async def driver(self) -> asyncpg.Connection:
        """Asyncpg's own connection, inside the transaction."""


class ReadTx:
    """A transaction that sees one moment of the database and can only read."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def execute(
        self, statement: Executable | str, parameters: Parameters | None = None
    ) -> CursorResult[Any]:
        """Run one statement; plain text takes `:name` parameters."""
        if isinstance(statement, str):
            statement = text(statement)
        try:
            return await self._connection.execute(statement, parameters)
        except OSError as error:
            raise translated(error) from error

    async def all(
        self, statement: Executable | str, parameters: Parameters | None = None
    ) -> Sequence[Row[Any]]:
        """All rows of a statement."""
        return (await self.execute(statement, parameters)).all()

    async def first(
        self, statement: Executable | str, parameters: Parameters | None = None
    ) -> Row[Any] | None:
        """The first row of a statement, or None."""
        return (await self.execute(statement, parameters)).first()

    async def scalar(self, statement: Executable | str, parameters: Parameters | None = None) -> Any:
        """The first column of the first row, or None."""
        return (await self.execute(statement, parameters)).scalar()

    async def driver(self) -> asyncpg.Connection:
        """Asyncpg's own connection, inside this transaction: for COPY and cursors."""
        # SQLAlchemy opens the transaction with its first statement; COPY must not run before that.
        await self._connection.exec_driver_sql("SELECT 1")
        raw = await self._connection.get_raw_connection()
        connection = raw.driver_connection
        assert connection is not None
        return connection


class Tx(ReadTx):
    """A transaction that can write. It commits when its `begin` block ends, and only then."""


class DriverTx:
    """A writing transaction with the driver alone: in batches, SQLAlchemy would be half of the time."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def driver(self) -> asyncpg.Connection:
        """Asyncpg's own connection, inside this transaction."""
        return self._connection


@asynccontextmanager
async def session(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """A connection of one's own, outside of any transaction: for locks of the session, and `begin_on`.

    Where the block fails it is closed, and its locks with it.
    """
    try:
        async with engine.connect() as plain:
            await plain.execution_options(isolation_level="AUTOCOMMIT")
            connection = (await plain.get_raw_connection()).driver_connection
            assert connection is not None
            try:
                yield connection
            except BaseException:
                await plain.invalidate()
                raise
    except _TRANSLATED as error:
        raise translated(error) from error


@asynccontextmanager
async def begin_on(connection: asyncpg.Connection) -> AsyncIterator[DriverTx]:
    """A writing transaction on a connection that the caller keeps; it ends as `begin`'s does."""
    try:
        async with connection.transaction():
            yield DriverTx(connection)
    except _TRANSLATED as error:
        raise translated(error) from error


@asynccontextmanager
async def begin(engine: AsyncEngine, *, statement_timeout_seconds: float | None = None) -> AsyncIterator[Tx]:
    """A writing transaction: committed at the end of the block, rolled back if anything is raised in it."""
    inside = False
    try:
        async with engine.begin() as connection:
            if statement_timeout_seconds is not None:
                milliseconds = int(statement_timeout_seconds * 1000)
                await connection.exec_driver_sql(f"SET LOCAL statement_timeout = {milliseconds}")
            inside = True
            yield Tx(connection)
            inside = False
    except _TRANSLATED as error:
        if inside and isinstance(error, OSError):
            raise  # of a file or a pipe that the block works with: the database would have said it otherwise
        raise translated(error) from error


@asynccontextmanager
async def read(engine: AsyncEngine) -> AsyncIterator[ReadTx]:
    """A reading transaction: one snapshot, and PostgreSQL refuses any write in it."""
    inside = False
    try:
        async with engine.connect() as plain:
            connection = await plain.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
            async with connection.begin():
                inside = True
                yield ReadTx(connection)
                inside = False
    except _TRANSLATED as error:
        if inside and isinstance(error, OSError):
            raise  # of a file or a pipe that the block works with: the database would have said it otherwise
        raise translated(error) from error


_UNAVAILABLE_CLASSES = ("08", "28", "3D", "53", "57P")  # connection, sign-in, name, resources, shutdown
_INVALID_STATES = {
    "22000": "value_invalid",  # one that the driver cannot even send, such as half a surrogate pair
    "22021": "text_invalid",  # a NUL character in a text
    "22P05": "text_invalid",
    "22P02": "value_invalid",
    "22003": "number_out_of_range",
    "22008": "time_out_of_range",
    "23514": "rule_broken",
    "23502": "value_missing",
}


def translated(error: BaseException) -> BaseException:
    """A driver's error as one of ours where a user can do something about it; otherwise itself, a bug."""
    if isinstance(error, CounterfoilError):
        return error
    original = error.orig if isinstance(error, DBAPIError) else error
    cause = getattr(original, "__cause__", None) or original
    state = str(getattr(cause, "sqlstate", None) or getattr(original, "sqlstate", None) or "")
    if isinstance(error, NoConnectionFreeError):
        return UnavailableError("Too many requests wait for the database; try again.", code="overloaded")
    # The driver loses its thread where a connection breaks at the wrong moment, and says so as an internal
    # error.
    lost = OSError, asyncpg.InterfaceError, asyncpg.InternalClientError
    if isinstance(cause, lost) or state.startswith(_UNAVAILABLE_CLASSES):
        return UnavailableError("The database is not there now; try again.", code="database_unavailable")
    if state in {"40001", "40P01", "55P03"}:
        return ConflictError("Somebody else is changing the same thing; try again.", code="busy")
    if state == "57014":
        return UnavailableError("The database took too long; try again, or ask for less.", code="timed_out")
    if state == "23503":
        constraint = getattr(cause, "constraint_name", None)
        return InvalidError(
            f"It refers to something that is not there ({constraint}).", code="reference_unknown"
        )
    if state in _INVALID_STATES:
        return InvalidError(f"The database refuses a value: {cause}.", code=_INVALID_STATES[state])
    return error
