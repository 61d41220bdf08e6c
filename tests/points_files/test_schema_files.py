"""What the schema refuses, whatever the code would do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import IntegrityError

from tests.points_files.world import Bank, World

ROWS = [("m1", 5, "r1"), ("m2", 6, "r2"), ("nobody", 7, "r3"), ("m1", 5, "r1")]

REFUSED = {
    "a credited file that lost a record": "UPDATE points_files SET credited = credited - 1",
    "a credited file that lost a point": "UPDATE points_files SET rejected_points = rejected_points - 1",
    "a credited file of which not all was cut": "UPDATE points_files SET cut_to = cut_to - 1",
    "a credited file without totals": "UPDATE points_files SET duplicate = NULL",
    "a reason of a file that was not rejected": "UPDATE points_files SET reason = 'damaged'",
    "a rejected file without a reason": "UPDATE points_files SET state = 'rejected'",
    "a repetition of nothing": "UPDATE points_files SET state = 'repeated'",
    "a state that is none": "UPDATE points_files SET state = 'lost'",
    "a batch that lost a record": "UPDATE points_batches SET rejected = rejected + 1",
    "a batch that lost a point": "UPDATE points_batches SET credited_points = credited_points + 1",
    "a batch that is done at no time": "UPDATE points_batches SET done_at = NULL",
    "a batch without records": "UPDATE points_batches SET to_n = from_n",
    "a second batch of the same records": """INSERT INTO points_batches (file_no, batch_no, from_n, to_n,
        first_customer, last_customer, worker, cut_at)
        SELECT file_no, 99, from_n, to_n, first_customer, last_customer, worker, cut_at
        FROM points_batches LIMIT 1""",
    "a second file with the number of an accepted one": """INSERT INTO points_files (file_id, merchant_id,
        partner_id, name, via, state, received_at, size_bytes, digest, sequence, records)
        SELECT gen_random_uuid(), merchant_id, partner_id, name, via, 'crediting', received_at, 1, digest,
        sequence, 0 FROM points_files""",
    "a second file with the content of an accepted one": """INSERT INTO points_files (file_id, merchant_id,
        partner_id, name, via, state, received_at, size_bytes, digest, sequence, records, content_digest)
        SELECT gen_random_uuid(), merchant_id, partner_id, name, via, 'crediting', received_at, 1, digest,
        sequence + 1, 0, content_digest FROM points_files""",
    "a second credit of a reference": """INSERT INTO points_transfers (transfer_id, merchant_id, member_no,
        source_no, reference, points, balance, version, posted_at)
        SELECT gen_random_uuid(), merchant_id, member_no, source_no, reference, points, balance + points,
        version + 1, now() FROM points_transfers""",
    "a second result of a record": "INSERT INTO points_results SELECT * FROM points_results",
    "a result that is none": "UPDATE points_results SET status = 'perhaps'",
    "a partner whose name cannot be typed": "UPDATE points_partners SET partner_id = 'City Bank'",
    "a negative number of a file": "UPDATE points_partners SET last_sequence = -1",
}


@pytest.fixture
async def credited(world: World, bank: Bank) -> AsyncIterator[World]:
    """A merchant with one file that was credited."""
    await bank.credited(*ROWS)
    yield world
    await world.prove()


async def test_what_must_never_be_is_refused_by_the_tables_themselves(credited: World) -> None:
    for what, statement in REFUSED.items():
        async with credited.engine.connect() as connection:
            try:
                await connection.exec_driver_sql(statement)
            except IntegrityError:
                continue
            pytest.fail(f"{what} was taken")
