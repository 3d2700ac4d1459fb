"""The SQL files: each opens with a comment, can be composed, and travels inside the wheel."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.resources import as_file
from pathlib import Path
from string import Formatter

import pytest
from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import named_queries, sql_root, statement, text_of

PROJECT = Path(__file__).parents[3]


def files() -> list[str]:
    """Every SQL file by its path without the ending."""
    with as_file(sql_root()) as root:
        return sorted(os.fspath(file.relative_to(root).with_suffix("")) for file in root.rglob("*.sql"))


def names() -> list[str]:
    """Every query as `statement` names it: a file of a folder, or a named query of an area's file."""
    inside = [file for file in files() if "/" in file]
    return inside + [f"{area}/{query}" for area in files() if "/" not in area for query in named_queries(area)]


@pytest.mark.parametrize("name", names())
def test_a_file_opens_with_a_comment_and_can_be_composed(name: str) -> None:
    text = text_of(name)
    fields = {field for _, field, _, _ in Formatter().parse(text) if field is not None}

    assert text.startswith("-- ")
    assert text.endswith("\n")
    assert all(field.isidentifier() for field in fields)
    assert statement(name, **dict.fromkeys(fields, "public.example")).as_string().startswith("-- ")


def test_a_plain_name_is_quoted_as_an_identifier_and_a_composed_one_is_kept() -> None:
    composed = statement("rollback/freeze", table='public.odd"name', events=sql.SQL("INSERT"), pid=sql.Literal(7))

    assert 'ON "public"."odd""name"' in composed.as_string()
    assert "BEFORE INSERT ON" in composed.as_string()
    assert "refuse_while_leaving(7)" in composed.as_string()


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"no_such_rule\.sql"):
        text_of("checks/no_such_rule")


def test_the_wheel_carries_every_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    kept = shutil.ignore_patterns("__pycache__")
    for folder in ("knowledge_migration", "sql"):
        shutil.copytree(PROJECT / folder, source / folder, ignore=kept)
    for file in ("pyproject.toml", "README.md", "LICENSE", "dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / file, source / file)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", os.fspath(tmp_path)],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())

    assert {f"knowledge_migration/sql/{name}.sql" for name in files()} <= inside
    others = ("dagster.yaml", "workspace.yaml", "engine/schema/revisions/versions/0001_evidence.py")
    assert {f"knowledge_migration/{name}" for name in others} <= inside
    assert not any(name.startswith(("sql/", "knowledge_migration_tests/")) for name in inside)


@pytest.mark.parametrize("name", ["", "of the server"])
def test_a_percent_sign_in_a_name_or_literal_is_no_placeholder(connection: Connection, name: str) -> None:
    query = sql.SQL("SELECT {} AS {}, %(value)s AS value").format(sql.Literal("50 %s"), sql.Identifier('a %s "b"'))
    with connection.transaction(), connection.cursor(name) as cursor:
        assert cursor.execute(query, {"value": 1}).fetchall() == [{'a %s "b"': "50 %s", "value": 1}]
