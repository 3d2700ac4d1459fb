"""A small application with the schema and the extraction of tasktracker: FastAPI, asyncpg, its own Alembic chain."""
