"""The value comparison reports every wrong copy, excuses what users edited, and never passes where it cannot tell."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from knowledge_migration.engine.backfill.plan import Partition
from knowledge_migration.engine.backfill.runner import backfill_partition
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.rollback import backfill as backfill_rollback
from knowledge_migration.engine.validation import rules
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, clone, drop
from knowledge_migration_tests.engine.backfill.backfilling import QUICK, backfill, broken_rules, fill

STRATEGYS_COPY = """
WITH made AS (
    INSERT INTO topic_proposals (
        extraction_run_id, name, description, icon, color, confidence, status, reviewed_at, review_action
    ) VALUES (
        '00000000-0000-0000-0000-000000000001', %(name)s, %(description)s, %(icon)s, %(color)s, 1.0, 'approved', now(),
        'auto_approve_migration'
    ) RETURNING id
)
UPDATE topics SET migrated_from_proposal_id = made.id, migration_timestamp = now() FROM made WHERE topics.id = %(id)s
"""

RULES: dict[str, rules.Rule] = {rule.kind.name: rule for rule in rules.RULES if rule.compares_values and rule.kind}


@pytest.fixture(scope="module")
def backfilled(server: EmbeddedServer) -> Iterator[Database]:
    """A database that is backfilled and holds every rule."""
    database = clone(server, EXPANDED_TEMPLATE)
    fill(database)
    backfill(database)
    yield database
    drop(server, database)


@pytest.fixture
def migrated(backfilled: Database) -> Iterator[Connection]:
    """A session on it whose changes are taken back."""
    with backfilled.connect("test") as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.fixture
def own(server: EmbeddedServer, backfilled: Database) -> Iterator[Connection]:
    """A session on a copy of its own."""
    database = clone(server, backfilled.name)
    with database.connect("test") as connection:
        yield connection
    drop(server, database)


def compared(connection: Connection, entity: str) -> CheckOutcome:
    """What the comparison says of a table."""
    return rules.evaluate(connection, RULES[entity], sample=100)


def differing(connection: Connection, entity: str) -> dict[object, object]:
    """The rows that it reports, with the names of their columns."""
    return {row["id"]: row["differing_columns"] for row in compared(connection, entity).sample}


def of(row_id: int, entity: str = "atom") -> str:
    """The id of the proposal of a row."""
    return f"migration.origin_proposal_id('{entity}s', {row_id})"


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ("title = 'forged'", "title"),
        ("type = 'decision', content = content || ' '", "type, content"),
        ("confidence = NULL", "confidence"),
        ("confidence = 0.73000000001", "confidence"),
        ("meta = NULL", "meta"),
        ("""meta = '{"a": [2]}'""", "meta"),
    ],
)
def test_a_copy_that_was_changed_later_is_found_column_by_column(
    migrated: Connection, change: str, columns: str
) -> None:
    migrated.execute(f"UPDATE atom_proposals SET {change} WHERE id = {of(7)}")  # noqa: S608
    assert differing(migrated, "atom") == {7: columns}


def test_null_zero_empty_and_json_null_are_four_values(migrated: Connection) -> None:
    changes = {
        ("atom", 4): "confidence = 0.0",
        ("atom", 1): "confidence = NULL",
        ("atom", 3): "meta = NULL",
        ("atom", 2): "meta = 'null'",
        ("topic", 1): "icon = ''",
        ("topic", 2): "color = ''",
    }
    for (entity, row_id), change in changes.items():
        migrated.execute(f"UPDATE {entity}_proposals SET {change} WHERE id = {of(row_id, entity)}")  # noqa: S608
    assert differing(migrated, "atom") == {1: "confidence", 2: "meta", 3: "meta", 4: "confidence"}
    assert differing(migrated, "topic") == {1: "icon", 2: "color"}


def test_white_space_and_order_in_json_are_no_difference(migrated: Connection) -> None:
    migrated.execute(f"""UPDATE atom_proposals SET meta = '{{"a":[2],"b":1}}' WHERE id = {of(7)}""")  # noqa: S608
    assert differing(migrated, "atom") == {}


@pytest.mark.parametrize("stamp", ["", ", updated_at = clock_timestamp()"], ids=["without a stamp", "with a stamp"])
def test_what_a_user_edited_after_the_link_is_not_reported(migrated: Connection, stamp: str) -> None:
    migrated.execute(f"UPDATE atoms SET title = 'edited', confidence = NULL{stamp} WHERE id IN (3, 5)")  # noqa: S608
    assert differing(migrated, "atom") == {}
    numbers = compared(migrated, "atom").numbers
    counted = (numbers["linked"], numbers["compared"], numbers["edited_since"], numbers["written_since_unstamped"])
    assert counted == ((400, 398, 2, 0) if stamp else (400, 398, 0, 2))


def test_an_edit_to_something_that_jsonb_cannot_hold_does_not_break_the_comparison(migrated: Connection) -> None:
    migrated.execute("""UPDATE atoms SET meta = '{"a": "\\u0000"}' WHERE id = 3""")
    migrated.execute(f"UPDATE atom_proposals SET title = 'forged' WHERE id = {of(4)}")  # noqa: S608
    assert differing(migrated, "atom") == {4: "title"}


def test_a_user_whose_clock_runs_ahead_excuses_no_wrong_copy(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        connection.execute("UPDATE topics SET updated_at = now() + interval '1 hour' WHERE id = 9")
        backfill(expanded)
        connection.execute(f"UPDATE topic_proposals SET name = 'forged' WHERE id = {of(9, 'topic')}")  # noqa: S608
        assert differing(connection, "topic") == {9: "name"}


@pytest.mark.parametrize("stamp", ["", ", updated_at = clock_timestamp()"], ids=["without a stamp", "with a stamp"])
def test_the_stale_copy_of_the_strategys_loop_is_found(expanded: Database, stamp: str) -> None:
    """It reads a row, a user edits it and commits, then it writes what it had read, in one transaction (ERRATA F9)."""
    fill(expanded)
    with expanded.connect("migration") as migration, expanded.connect("user") as user:
        with migration.transaction():
            read = migration.execute("SELECT id, name, description, icon, color FROM topics WHERE id <= 3").fetchall()
            user.execute(f"UPDATE topics SET name = 'EDITED BY USER'{stamp} WHERE id = 2")  # noqa: S608
            migration.execute(
                "INSERT INTO knowledge_extraction_runs (id, status, message_ids, message_count) "
                "VALUES ('00000000-0000-0000-0000-000000000001', 'completed', '[]', 0)"
            )
            for row in read:
                migration.execute(STRATEGYS_COPY, row)
        assert differing(user, "topic") == {2: "name"}


def test_rows_that_users_have_all_edited_with_a_stamp_leave_nothing_to_report(migrated: Connection) -> None:
    migrated.execute("UPDATE topics SET description = 'new', updated_at = clock_timestamp()")
    said = compared(migrated, "topic")
    assert (said.passed, said.numbers["compared"], said.numbers["edited_since"]) == (True, 0, 60)


def test_where_a_bulk_update_left_nothing_to_judge_it_is_an_error_not_a_pass(migrated: Connection) -> None:
    migrated.execute("UPDATE topics SET name = upper(name)")
    with pytest.raises(VerificationError, match=r"None of the 60 linked rows of topics .* 60 without a new updated_at"):
        compared(migrated, "topic")


def test_a_partition_is_compared_by_its_range_and_by_the_same_marks(migrated: Connection) -> None:
    migrated.execute(f"UPDATE atom_proposals SET title = 'forged' WHERE id IN ({of(100)}, {of(101)}, {of(200)})")  # noqa: S608
    said = rules.evaluate_range(migrated, RULES["atom"], after_id=100, through_id=200, sample=9)
    assert sorted(str(row["id"]) for row in said.sample) == ["101", "200"]


def test_a_database_without_any_link_has_nothing_to_compare(expanded: Database) -> None:
    fill(expanded)
    with expanded.connect("test") as connection:
        assert compared(connection, "atom").numbers["linked"] == 0


def restored(server: EmbeddedServer, connection: Connection, folder: Path, *options: str) -> Database:
    """The database of a session after a dump and a restore."""
    source = server.database(connection.info.dbname)
    target = server.ensure_database(f"{connection.info.dbname}_restored")
    dump = folder / "dump"
    subprocess.run([server.bin_path / "pg_dump", "-Fc", "-f", dump, "-d", source.conninfo], check=True)
    subprocess.run([server.bin_path / "pg_restore", "-e", *options, "-d", target.conninfo, dump], check=True)
    return target


@pytest.fixture(params=[(), ("--single-transaction",)], ids=["restored", "restored in one transaction"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Both ways in which pg_restore may be run."""
    return request.param  # type: ignore[no-any-return]


def test_after_a_restore_pairs_that_are_equal_pass_and_stamped_edits_are_excused(
    server: EmbeddedServer, own: Connection, tmp_path: Path, options: tuple[str, ...]
) -> None:
    own.execute("UPDATE atoms SET title = 'edited', updated_at = clock_timestamp() WHERE id = 3")
    target = restored(server, own, tmp_path, *options)
    with target.connect("test") as connection:
        assert broken_rules(connection) == {}
        said = compared(connection, "atom")
        assert (said.numbers["versions_kept"], said.numbers["compared"], said.numbers["edited_since"]) == (
            False,
            399,
            1,
        )
    drop(server, target)


@pytest.mark.parametrize("change", ["UPDATE atoms SET title = 'edited' WHERE id = 3",
                                    "UPDATE atom_proposals SET title = 'forged' WHERE title = 'atom 3'"])  # fmt: skip
def test_after_a_restore_a_difference_is_an_error_that_says_why_it_cannot_be_judged(
    server: EmbeddedServer, own: Connection, tmp_path: Path, options: tuple[str, ...], change: str
) -> None:
    own.execute(change)
    target = restored(server, own, tmp_path, *options)
    with target.connect("test") as connection:
        with pytest.raises(VerificationError, match=r"1 rows of atoms differ .*\(first: 3\).*restored from a dump"):
            compared(connection, "atom")
        with pytest.raises(VerificationError, match="restored from a dump"):
            rules.evaluate_range(connection, RULES["atom"], after_id=0, through_id=10, sample=5)
        assert compared(connection, "topic").passed
    drop(server, target)


def test_after_a_restore_rows_that_are_backfilled_since_do_not_make_it_see_again(
    server: EmbeddedServer, own: Connection, tmp_path: Path
) -> None:
    own.execute("UPDATE atom_proposals SET title = 'forged' WHERE title = 'atom 3'")
    target = restored(server, own, tmp_path)
    with target.connect("test") as connection:
        connection.execute(
            "INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'new', '', false)"
        )
        backfill(target)
        with pytest.raises(VerificationError, match="restored from a dump"):
            compared(connection, "atom")
        backfill_rollback.rollback_backfill(target, reason="to make the marks anew", limits=QUICK)
        backfill(target)
        assert broken_rules(connection) == {}
    drop(server, target)


def test_a_restore_of_one_batch_alone_is_seen_too(
    server: EmbeddedServer, expanded: Database, tmp_path: Path, options: tuple[str, ...]
) -> None:
    fill(expanded)
    backfill_partition(expanded, Partition("topic", "x", 0, 100), QUICK.replaced(batch_size=100))
    with expanded.connect("test") as connection:
        connection.execute("UPDATE topic_proposals SET name = 'forged' WHERE name = 'topic 3'")
        target = restored(server, connection, tmp_path, *options)
    with target.connect("test") as connection, pytest.raises(VerificationError, match="restored from a dump"):
        compared(connection, "topic")
    drop(server, target)


def test_a_copy_of_the_files_keeps_the_marks(server: EmbeddedServer, own: Connection) -> None:
    """CREATE DATABASE ... TEMPLATE and base backups copy row versions as they are."""
    own.execute(f"UPDATE atom_proposals SET title = 'forged' WHERE id = {of(3)}")  # noqa: S608
    name = own.info.dbname
    own.close()
    with server.admin.connect("tests") as admin:
        admin.execute(
            psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(psycopg.sql.Identifier, (f"{name}_c", name)))
        )
    with server.database(f"{name}_c").connect("test") as connection:
        assert differing(connection, "atom") == {3: "title"}
    drop(server, server.database(f"{name}_c"))


def test_vacuum_full_and_freezing_keep_the_marks(own: Connection) -> None:
    own.execute(f"UPDATE atom_proposals SET title = 'forged' WHERE id = {of(3)}")  # noqa: S608
    for table in ("atoms", "atom_proposals", "migration.backfill_batch"):
        own.execute(psycopg.sql.SQL("VACUUM (FULL, FREEZE) {}").format(psycopg.sql.Identifier(*table.split("."))))
    assert differing(own, "atom") == {3: "title"}
