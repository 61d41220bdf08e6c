from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from counterfoil.access.idempotency import Answer, find_answer, keep_answer, request_hash
from counterfoil.db.transactions import begin
from counterfoil.errors import ConflictError, RefusedError
from tests.builders import NOW

CONTENT = request_hash("POST", "/v1/x", b"{}")


@pytest.mark.parametrize(
    "other",
    [
        ("PUT", "/v1/x", b"{}"),
        ("POST", "/v1/y", b"{}"),
        ("POST", "/v1/x", b"{ }"),
        ("POST", "/v1/x\n{}", b""),
    ],
)
def test_requests_that_differ_have_another_hash(other: tuple[str, str, bytes]) -> None:
    assert request_hash(*other) != CONTENT


async def test_the_key_is_held_until_the_transaction_ends(engine: AsyncEngine) -> None:
    answer = Answer(200, b"{}")
    async with begin(engine) as first:
        assert await find_answer(first, caller="a", key="k", content=CONTENT) is None
        with pytest.raises(ConflictError):
            async with begin(engine) as second:
                await find_answer(second, caller="a", key="k", content=CONTENT)
        async with begin(engine) as other:
            assert await find_answer(other, caller="b", key="k", content=CONTENT) is None
        await keep_answer(first, caller="a", key="k", content=CONTENT, answer=answer, now=NOW)
    async with begin(engine) as later:
        assert await find_answer(later, caller="a", key="k", content=CONTENT) == answer
        with pytest.raises(RefusedError):
            await find_answer(later, caller="a", key="k", content=b"other")
