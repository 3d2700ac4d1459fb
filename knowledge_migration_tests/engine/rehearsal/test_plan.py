"""The plan follows what is executed: another comment, docstring or layout is the same plan, another statement is not."""

import pytest

from knowledge_migration.engine.rehearsal.plan import code_without_docstrings, present_plan, sql_without_comments
from knowledge_migration.settings import load_settings

SQL = """-- Reads the pending rows; relies on ix_pending.
-- name: pending
SELECT id, 'a -- b'  AS label /* the label */
FROM topics -- all of them
WHERE id > %(after)s;
"""
SAME_SQL = """-- Another sentence.

-- name: pending
SELECT id, 'a -- b' AS label
FROM topics   WHERE id > %(after)s;
"""
CODE = '''"""The module."""

LIMIT = 5
"""The limit."""


def rows(limit: int = LIMIT) -> list[int]:
    """All rows."""
    return [1, 2][:limit]  # at most two


class Empty(Exception):
    """Nothing."""
'''
SAME_CODE = '''"""A module with another sentence."""
LIMIT = 5
# no text about the limit
def rows(
    limit: int = LIMIT,
) -> list[int]:
    return [1, 2][:limit]
class Empty(Exception):
    """Nothing at all."""
'''


def test_comments_and_blanks_of_a_query_are_not_part_of_the_plan() -> None:
    assert sql_without_comments(SQL) == sql_without_comments(SAME_SQL)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("id > %(after)s", "id >= %(after)s"),
        ("'a -- b'", "'a -- c'"),
        ("-- name: pending", "-- name: waiting"),
        ("FROM topics", 'FROM "topics "'),
    ],
)
def test_another_statement_or_name_of_a_query_is_another_plan(before: str, after: str) -> None:
    assert before in SQL
    assert sql_without_comments(SQL.replace(before, after)) != sql_without_comments(SQL)


def test_the_body_of_a_function_is_kept_as_the_server_stores_it() -> None:
    body = "CREATE FUNCTION f() RETURNS trigger AS $body$ BEGIN -- why\n RETURN NEW; END $body$ LANGUAGE plpgsql;"
    assert "-- why\n" in sql_without_comments(body)


def test_comments_docstrings_and_layout_of_code_are_not_part_of_the_plan() -> None:
    assert code_without_docstrings(CODE) == code_without_docstrings(SAME_CODE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("LIMIT = 5", "LIMIT = 6"), ("[:limit]", "[limit:]"), ("[1, 2]", "[2, 1]"), ("Empty", "Blank")],
)
def test_other_code_is_another_plan(before: str, after: str) -> None:
    assert code_without_docstrings(CODE.replace(before, after)) != code_without_docstrings(CODE)


def test_the_settings_that_change_what_is_executed_are_part_of_the_plan_and_the_speed_is_not() -> None:
    plan = present_plan(load_settings().plan)
    assert "setting migration_batch_size" in plan.parts
    assert present_plan(load_settings(migration_rate_limit_per_second=99).plan).hash == plan.hash
    changed = present_plan(load_settings(ddl_lock_attempts=7, knowledge_direct_threshold=0.8).plan)
    assert changed.differing(plan.parts) == ["setting ddl_lock_attempts", "setting knowledge_direct_threshold"]
