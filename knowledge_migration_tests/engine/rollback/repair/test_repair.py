"""Only what was altered is repaired, exactly; what users write stays, also at this very moment; killed, it is completed."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, MigrationError, VerificationError
from knowledge_migration.engine.rollback.repair.backup_copy import COMPARISON
from knowledge_migration.engine.rollback.repair.repair import WORK, RepairRun, repair_from_backup
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.engine.backfill.backfilling import at_the_same_time, blocked_by, gone
from knowledge_migration_tests.engine.rollback.repair.conftest import differing, drop_databases_like, taken, values

SMALL = BackfillSettings(batch_size=2, lock_timeout_ms=200, sleep=lambda _: None)
PATIENT = BackfillSettings(batch_size=2, lock_timeout_ms=20_000)

ALTERATIONS = """
UPDATE users SET email = NULL;
UPDATE topics SET description = '', icon = NULL WHERE id = 1;
UPDATE topics SET icon = '', color = '#000000', created_at = NULL WHERE id = 2;
UPDATE messages SET topic_id = 2, confidence = NULL, noise_factors = '{"a": 1}', content = '', sent_at = now();
UPDATE atoms SET meta = '{"a":1}', confidence = -0.0 WHERE id = 1;
UPDATE atoms SET meta = NULL, confidence = 0 WHERE id = 2;
UPDATE atoms SET embedding = NULL, content = E'\\\\x "quoted"\\n' WHERE id = 3;
UPDATE atoms SET embedding = array_fill(1::real, ARRAY[1536])::vector WHERE id = 20001;
UPDATE topic_atoms SET note = '', position = 7;
UPDATE atom_links SET link_type = 'x', strength = NULL;
UPDATE places SET number = 9, topic_id = NULL;
UPDATE counters SET topic_id = NULL;
"""


def repaired(database: Database, server: EmbeddedServer, folder: Path, **options: Any) -> RepairRun:
    limits = options.pop("limits", SMALL)
    return repair_from_backup(database, folder, limits, scratch=server.admin, reason="a test", **options)


def audited(connection: Connection) -> list[tuple[Any, ...]]:
    return values(connection, "SELECT action, reason FROM migration.audit_log ORDER BY id")


def test_every_value_comes_back_exactly(any_live: Database, any_server: EmbeddedServer, tmp_path: Path) -> None:
    with any_live.connect() as session:
        before = taken(session)
        session.execute(ALTERATIONS)
        assert len(differing(session, before)) == 9
        run = repaired(any_live, any_server, tmp_path)
        assert differing(session, before) == []
    assert run.repair.repaired == {
        "users": 1, "topics": 2, "messages": 1, "atoms": 4, "topic_atoms": 2, "atom_links": 1, "places": 2, "counters": 2,
    }  # fmt: skip
    assert (run.repair.refused, run.after.is_equal, run.after.counts["altered"]) == ((), True, 0)


def test_the_rows_as_they_were_are_in_a_file_that_only_its_owner_reads(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute("""UPDATE atoms SET confidence = 0.1, meta = E'{"b":\\n 2}', embedding = NULL WHERE id IN (1, 3)""")
    run = repaired(live, server, tmp_path / "exports")
    file = run.repair.file
    assert file
    lines = {tuple(line["key"]): line for line in map(json.loads, file.read_text().splitlines())}
    assert set(lines) == {("1",), ("3",)}
    assert lines["1",]["table"] == "atoms"
    assert lines["1",]["row"]["meta"] == '{"b":\n 2}'
    assert (lines["3",]["row"]["confidence"], lines["3",]["row"]["embedding"]) == ("0.1", None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_users_wrote_stays(live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path) -> None:
    rows.execute(
        "UPDATE topics SET icon = 'theirs', updated_at = now() WHERE id = 1; UPDATE topics SET icon = 'X' WHERE id = 2;"
        "INSERT INTO topics (id, name, description) VALUES (4, 'new', ''); DELETE FROM topic_atoms WHERE atom_id = 2;"
        "UPDATE labels SET words = 'theirs'; INSERT INTO visits VALUES (4, 'new')"
    )
    run = repaired(live, server, tmp_path)
    assert run.repair.repaired == {"topics": 1}
    assert values(rows, "SELECT id, icon FROM topics ORDER BY id") == [(1, "theirs"), (2, None), (4, None), (15000, "")]
    assert run.after.counts == {"added": 2, "written_since": 1, "undated": 3, "altered": 0, "missing": 1}
    assert values(rows, "SELECT words FROM labels") == [("theirs",)] * 3


def test_where_nothing_is_altered_nothing_is_done_and_nothing_said(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute("DELETE FROM atom_links")
    run = repaired(live, server, tmp_path)
    assert (run.repair.changed, run.repair.file, run.before.counts["missing"]) == (0, None, 1)
    assert list(tmp_path.iterdir()) == []
    assert audited(rows) == []


def test_a_second_run_has_nothing_to_do(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute(ALTERATIONS)
    repaired(live, server, tmp_path)
    assert repaired(live, server, tmp_path).repair.changed == 0
    assert audited(rows) == [("repair from the backup begun", "a test"), ("repair from the backup", "a test")]


def test_missing_rows_come_back_when_asked_parents_first(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    before = taken(rows)
    rows.execute("INSERT INTO places (id, number, parent) SELECT gen_random_uuid(), 5, id FROM places WHERE number = 1")
    rows.execute("DELETE FROM places WHERE number = 5")
    rows.execute(
        "DELETE FROM topic_atoms; DELETE FROM atom_links; DELETE FROM atoms; DELETE FROM messages; DELETE FROM visits;"
        "DELETE FROM labels; DELETE FROM places; DELETE FROM counters; DELETE FROM topics; DELETE FROM sources WHERE id = 2"
    )
    run = repaired(live, server, tmp_path, restore_missing=True)
    assert differing(rows, before) == []
    assert run.repair.brought_back == {
        "sources": 1, "topics": 3, "messages": 1, "atoms": 4, "topic_atoms": 2, "atom_links": 1, "labels": 3, "places": 2,
        "visits": 4, "counters": 2,
    }  # fmt: skip
    assert run.after.is_equal


def test_a_row_that_the_database_refuses_is_named_and_the_others_are_repaired(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute(
        "UPDATE topics SET name = 'x' || id; INSERT INTO topics (id, name, description) VALUES (9, 'Locks', 'theirs');"
        "DELETE FROM atom_links; DELETE FROM topic_atoms WHERE atom_id = 1; DELETE FROM atoms WHERE id = 1"
    )
    run = repaired(live, server, tmp_path)
    assert run.repair.repaired == {"topics": 2}
    (refused,) = run.repair.refused
    assert (refused.table, refused.key) == ("topics", ("2",))
    assert "ix_topics_name" in refused.reason
    assert values(rows, "SELECT id, name FROM topics ORDER BY id")[:3] == [(1, "Backups"), (2, "x2"), (9, "Locks")]


def test_a_unique_value_that_moved_on_comes_back(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    before = taken(rows)
    rows.execute("UPDATE topics SET name = 'z' WHERE id = 15000; UPDATE topics SET name = 'Ünïcode' WHERE id = 2")
    rows.execute("UPDATE topics SET name = 'Locks' WHERE id = 1")
    assert repaired(live, server, tmp_path).repair.refused == ()
    assert differing(rows, before) == []


def test_a_trigger_that_alters_what_is_written_is_an_error_and_the_row_stays(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute(
        "UPDATE topics SET icon = 'X' WHERE id = 1;"
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at = now(); RETURN NEW; END';"
        "CREATE TRIGGER stamp BEFORE UPDATE ON topics FOR EACH ROW EXECUTE FUNCTION stamp()"
    )
    with pytest.raises(VerificationError, match="Row 1 of topics is not as it was written: a trigger"):
        repaired(live, server, tmp_path)
    assert values(rows, "SELECT icon, updated_at FROM topics WHERE id = 1") == [("X", None)]


def test_an_edit_at_this_very_moment_wins(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute("UPDATE topics SET icon = 'X'")
    with live.connect("user") as user, user.transaction():
        user.execute("UPDATE topics SET description = 'edited now', updated_at = now() WHERE id = 2")
        with at_the_same_time(lambda: repaired(live, server, tmp_path, limits=PATIENT)) as done:
            blocked_by(rows, user, "knowledge_migration repair")
            assert values(rows, "SELECT id, icon FROM topics ORDER BY id") == [(1, "FolderIcon"), (2, "X"), (15000, "")]
            user.execute("COMMIT; BEGIN")
            run = done.result()
    assert (run.repair.repaired, run.repair.left_to_users) == ({"topics": 2}, {"topics": 1})
    assert values(rows, "SELECT description, icon FROM topics WHERE id = 2") == [("edited now", "X")]
    assert run.after.counts["written_since"] == 1


def test_a_row_that_a_user_deletes_at_this_very_moment_stays_deleted(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute("UPDATE atom_links SET strength = 1; UPDATE topic_atoms SET note = 'X'")
    with live.connect("user") as user, user.transaction():
        user.execute("DELETE FROM atom_links")
        with at_the_same_time(lambda: repaired(live, server, tmp_path, limits=PATIENT)) as done:
            blocked_by(rows, user, "knowledge_migration repair")
            user.execute("COMMIT; BEGIN")
            run = done.result()
    assert (run.repair.repaired, run.repair.left_to_users) == ({"topic_atoms": 2}, {"atom_links": 1})


def test_it_gives_up_on_a_row_that_is_never_let_go_of_after_all_others(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    before = taken(rows)
    rows.execute("UPDATE topics SET icon = 'X'; UPDATE atoms SET title = 'X'")
    with live.connect("user") as user, user.transaction():
        user.execute("SELECT FROM topics WHERE id = 1 FOR UPDATE")
        with pytest.raises(
            BlockedError, match=r"topics was stopped 8 times at row 1, last by 55P03.*all other rows are"
        ):
            repaired(live, server, tmp_path)
    assert differing(rows, before) == ["topics 0..9999"]
    assert repaired(live, server, tmp_path).repair.repaired == {"topics": 1}
    assert differing(rows, before) == []


def test_two_repairs_at_once_are_refused(live: Database, server: EmbeddedServer, tmp_path: Path) -> None:
    with live.connect("other") as other, advisory_lock(other, WORK), pytest.raises(BusyError, match="pid"):
        repaired(live, server, tmp_path)


def test_rows_that_cannot_be_saved_are_not_repaired(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path
) -> None:
    rows.execute("UPDATE topics SET icon = 'X' WHERE id = 1")
    (tmp_path / "file").write_text("")
    with pytest.raises(MigrationError, match=r"Cannot write to .*Nothing was changed"):
        repaired(live, server, tmp_path / "file" / "exports")
    assert values(rows, "SELECT icon FROM topics WHERE id = 1") == [("X",)]


CHILD = """
import sys
from pathlib import Path
from knowledge_migration.engine.backfill.control import BackfillSettings
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.rollback.repair.backup_copy import COMPARISON
from knowledge_migration.engine.rollback.repair.repair import repair_from_backup

def tell(table, count):
    print(count, flush=True)
    sys.stdin.readline()

url, admin, folder = sys.argv[1:]
limits = BackfillSettings(batch_size=2)
repair_from_backup(Database(url), Path(folder), limits, scratch=Database(admin), reason="to be killed", on_repaired=tell)
"""


@pytest.mark.parametrize("batches", [1, 3, 6])
def test_killed_anywhere_it_is_completed_by_the_next_one(
    live: Database, rows: Connection, server: EmbeddedServer, tmp_path: Path, batches: int
) -> None:
    before = taken(rows)
    rows.execute(ALTERATIONS)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, live.url, server.admin.url, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdin
    assert child.stdout
    done = int(child.stdout.readline())
    for _ in range(batches - 1):
        child.stdin.write("\n")
        child.stdin.flush()
        done += int(child.stdout.readline())
    child.kill()
    child.communicate()
    gone(rows, "knowledge_migration repair")
    drop_databases_like(server.admin, COMPARISON.prefix)
    assert differing(rows, before)
    (saved,) = tmp_path.iterdir()
    assert len(saved.read_text().splitlines()) == 15
    run = repaired(live, server, tmp_path)
    assert differing(rows, before) == []
    assert run.repair.changed == 15 - done
    assert len(list(tmp_path.iterdir())) == 2
