"""Alembic's entry: runs on the connection that ``services.db.migrate`` opened."""

from __future__ import annotations

from alembic import context

from services.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=True,
    transaction_per_migration=False,
)
context.run_migrations()
