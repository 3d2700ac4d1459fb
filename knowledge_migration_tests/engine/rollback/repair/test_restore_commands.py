"""The two commands as an operator types them: the plan first, nothing without a yes, one sentence for an error."""

from pathlib import Path

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.rollback.repair.conftest import (
    databases_like,
    drop_databases_like,
    values,
)
from knowledge_migration_tests.recovering import command


def content(database: Database) -> list[tuple[object, ...]]:
    with database.connect("test") as session:
        return values(session, "SELECT content, to_regclass('topic_proposals') IS NOT NULL FROM atoms WHERE id = 1")


def damage(database: Database) -> None:
    with database.connect("test") as session:
        session.execute("UPDATE atoms SET content = 'altered' WHERE id = 1; DELETE FROM atom_links")


def test_the_full_rollback_prints_its_plan_and_waits_for_a_yes(live: Database, tmp_path: Path) -> None:
    schema.upgrade(live, SchemaChangeSettings())
    damage(live)
    for words, answer in ((("--dry-run",), ""), ((), "n\n")):
        done = command(live, "rollback", "full", "--reason", "a test", *words, home=tmp_path, answer=answer)
        assert "1. flags: flags that change: none" in done.stdout, done.stderr
        assert "4. schema: export the proposal tables" in done.stdout
        assert "without a later updated_at, would be reverted to the backup: 1 in atoms: 1" in done.stdout
        assert content(live) == [("altered", True)]
    done = command(live, "rollback", "full", "--reason", "a test", "--yes", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 rows repaired" in done.stdout
    assert "12 tables equal the backup except for these rows: 1 missing in atom_links." in done.stdout
    assert content(live) == [("No space left", False)]
    assert sorted(path.name.split("_")[0] for path in (tmp_path / "exports").iterdir()) == ["proposals", "rows"]


def test_missing_rows_come_back_with_the_option(live: Database, tmp_path: Path) -> None:
    damage(live)
    done = command(live, "rollback", "full", "--reason", "a test", "--yes", "--restore-missing", home=tmp_path)
    assert "All 25 rows of 12 tables equal the backup." in done.stdout, done.stderr


def test_the_restore_needs_the_name_typed_exactly(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    damage(live)
    done = command(live, "restore", "--reason", "a test", "--dry-run", home=tmp_path)
    assert "proposals, flags and audit entries since the backup live on there only" in done.stdout, done.stderr
    refused = command(live, "restore", "--reason", "a test", "--yes", "--confirm", "another", home=tmp_path)
    assert "'another' is not its name" in refused.stderr
    assert content(live) == [("altered", False)]
    done = command(live, "restore", "--reason", "a test", "--confirm", live.name, home=tmp_path, answer="y\n")
    assert done.returncode == 0, done.stderr
    assert content(live) == [("No space left", False)]
    prefix = f"{live.name}_before_restore_"
    assert len(databases_like(server.admin, prefix)) == 1
    drop_databases_like(server.admin, prefix)
