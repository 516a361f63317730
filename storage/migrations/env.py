"""Alembic's entry: migrate over the connection that storage.schema.migrate hands in."""

from alembic import context

from storage.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite can hardly alter a table: alembic copies it instead
)
with context.begin_transaction():
    context.run_migrations()
