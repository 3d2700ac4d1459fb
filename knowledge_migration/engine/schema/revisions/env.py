"""Alembic's entry: runs the revisions on the connection that `engine.schema` hands over, in autocommit.

Each step opens its own transaction, so Alembic must not hold one around a revision (ERRATA D2): the version is written
after the steps of a revision, and a revision that was cut off is run again, passing over what is done.
"""

from alembic import context

from knowledge_migration.engine.schema.upgrade import VERSION_TABLE, VERSION_TABLE_SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=VERSION_TABLE_SCHEMA,
    transactional_ddl=False,
    transaction_per_migration=False,
)
context.run_migrations()
