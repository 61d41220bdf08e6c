"""A merchant of the API with a partner that writes, signs and encrypts files."""

from __future__ import annotations

from pathlib import Path

from counterfoil.app import App
from counterfoil.db.transactions import begin
from counterfoil.points.files.keys import OwnKey
from tests.api.conftest import Caller
from tests.points_files.world import World, own_pair


async def world_of(platform: App, who: Caller, directory: Path, *members: str) -> World:
    """The world of a merchant that is there, with an OpenPGP key of its own."""
    own = own_pair()
    async with begin(platform.engine) as tx:
        await tx.execute(
            """INSERT INTO points_own_keys (merchant_id, fingerprint, kind, secret_key, public_key, made_at)
               VALUES (:m, :fingerprint, 'openpgp', :secret, :public, now())""",
            {
                "m": who.merchant.id,
                "fingerprint": own.fingerprint,
                "secret": own.secret,
                "public": own.public,
            },
        )
    key = OwnKey(own.fingerprint, "openpgp", own.secret, own.public)
    made = World(platform.engine, who.merchant.id, key, directory)
    await made.members(*members)
    return made
