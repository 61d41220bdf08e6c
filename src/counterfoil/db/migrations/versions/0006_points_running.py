"""A running balance tells how many transfers it has posted and what they moved; sums that stay bigint"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STEP = """
    CREATE OR REPLACE FUNCTION points_step(
        state bigint[], free bigint, room bigint, points bigint, pending boolean)
    RETURNS bigint[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        state := coalesce(state, ARRAY[free, room, 0{nothing}]);
        IF points < 0 AND state[1] + points < 0 OR points > 0 AND state[2] < points THEN
            RETURN ARRAY[state[1], state[2], 0{same}];
        ELSIF NOT pending THEN
            RETURN ARRAY[state[1] + points, state[2] - points, 1{posted}];
        ELSIF points < 0 THEN
            RETURN ARRAY[state[1] + points, state[2], 1{same}];
        END IF;
        RETURN ARRAY[state[1], state[2] - points, 1{same}];
    END $$"""


def upgrade() -> None:
    # The state: free, room (null: no limit), whether the last entry fitted; and now of those that did and are
    # not pending, how many there are and the sum of their points.
    op.execute(
        _STEP.format(
            nothing=", 0, 0", same=", state[4], state[5]", posted=", state[4] + 1, state[5] + points"
        )
    )
    # What sum gives of bigint is numeric: made anew for each row of a window, it took longer than adding.
    op.execute("CREATE AGGREGATE points_sum(bigint) (SFUNC = int8pl, STYPE = bigint, PARALLEL = SAFE)")


def downgrade() -> None:
    op.execute("DROP AGGREGATE points_sum(bigint)")
    op.execute(_STEP.format(nothing="", same="", posted=""))
