"""How Alembic runs: always on a connection that `db.migrate` opened, with its timeouts set."""

from __future__ import annotations

from alembic import context

from counterfoil.db.metadata import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
