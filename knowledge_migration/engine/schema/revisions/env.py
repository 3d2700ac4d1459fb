"""Alembic's entry point: runs the revisions on the connection of `schema.upgrade`, in autocommit.

Each step opens its own transaction, so Alembic must not hold one around a revision (ERRATA D2). Alembic records the
version after the steps of a revision; an interrupted revision runs again and skips completed steps.
"""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="migration",
    transactional_ddl=False,
    transaction_per_migration=False,
)
context.run_migrations()
