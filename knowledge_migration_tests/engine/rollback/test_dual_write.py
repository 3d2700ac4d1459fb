"""The rollback of phase 2: dual write off, its shadows deleted, everything else unchanged."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.foundation.advisory_lock import advisory_lock
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import BlockedError, BusyError, PreconditionError
from knowledge_migration.engine.rollback.dual_write import dual_write_extent, rollback_dual_write
from knowledge_migration.knowledge.flags import Flags, read_flags, set_flags
from knowledge_migration.settings import BackfillSettings
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, cloned
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, count, legacy_values
from knowledge_migration_tests.recovering import command
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.fence_timeouts import BRIEF, PATIENT

QUICK = BackfillSettings(lock_timeout_ms=100, retry_attempts=3, sleep=lambda _: None)
SHADOWS = "SELECT count(*) FROM {} WHERE review_action = 'dual_write'"


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[str]:
    """The name of a database after extractions in dual write, to be cloned."""
    with cloned(server, EXPANDED_TEMPLATE) as database:
        with database.connect("test template") as connection:
            connection.execute(PEOPLE_AND_MESSAGES)
        with serving(database) as url, httpx.Client(base_url=f"{url}/api/v1", timeout=60) as client:
            switch.switch_on(database, Flags(), PATIENT, reason="a test")
            for first in range(1, 90, 3):
                body = {"message_ids": [first, first + 1, first + 2], "user_id": 1}
                assert client.post("/knowledge/extract", json=body).status_code == 200
            client.post("/topics", json={"name": "by hand", "description": ""}).raise_for_status()
        with database.connect("test template") as connection:
            connection.execute("DELETE FROM migration.writer_heartbeat")
        yield database.name


@pytest.fixture
def peopled(server: EmbeddedServer, template: str) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, template) as copy:
        yield copy


@pytest.fixture
def written(service: str) -> Iterator[httpx.Client]:
    """A client of the service on it."""
    with httpx.Client(base_url=f"{service}/api/v1", timeout=60) as client:
        yield client


def back(database: Database, timeouts: object = PATIENT, limits: BackfillSettings = QUICK) -> object:
    return rollback_dual_write(database, Flags(), timeouts, reason="a test", limits=limits, batch_size=7)  # type: ignore[arg-type]


def test_a_statement_that_takes_longer_than_a_batch_of_the_backfill_may_is_not_ended(
    peopled: Database, rows: Connection
) -> None:
    """On 100 million rows it takes minutes to count the shadows, or to find the next ones."""
    rows.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END';"
        "CREATE TRIGGER slow AFTER DELETE ON topic_proposals FOR EACH STATEMENT EXECUTE FUNCTION slow()"
    )
    rollback_dual_write(
        peopled, Flags(), PATIENT, reason="a test", limits=QUICK.replaced(statement_timeout_ms=100, retry_attempts=1)
    )
    assert count(rows, SHADOWS.format("topic_proposals")) == 0


def test_a_promotion_at_the_same_moment_is_not_left_without_dual_write(
    peopled: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_off = switch.require_proposals_off

    def promoted_meanwhile(database: Database, otherwise: str) -> int | None:
        version = found_off(database, otherwise)
        with database.begin() as transaction:
            set_flags(transaction, {"enabled": True}, initial=Flags(), actor="another", reason="a promotion")
        return version

    monkeypatch.setattr(switch, "require_proposals_off", promoted_meanwhile)
    shadows = count(rows, SHADOWS.format("atom_proposals"))
    with pytest.raises(PreconditionError, match="somebody changed them"):
        back(peopled)
    with peopled.begin() as transaction:
        flags = read_flags(transaction)
    assert flags is not None
    assert (flags.enabled, flags.dual_write, count(rows, SHADOWS.format("atom_proposals"))) == (True, True, shadows)


def test_the_operators_choice_about_triggers_holds_here_too(
    peopled: Database, rows: Connection, written: httpx.Client
) -> None:
    """The user's history table gets no row for an unlinked one."""
    rows.execute(
        "CREATE TABLE history (id bigint);"
        "CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO history VALUES (NEW.id); RETURN NULL; END $$;"
        "CREATE TRIGGER remember AFTER UPDATE ON atoms FOR EACH ROW EXECUTE FUNCTION remember()"
    )
    linked = "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NOT NULL"
    before, shadows = count(rows, linked), count(rows, SHADOWS.format("atom_proposals"))
    with pytest.raises(PreconditionError, match=r"public\.atoms would also write to public\.history through a trigger"):
        back(peopled)
    assert (count(rows, linked), count(rows, SHADOWS.format("atom_proposals"))) == (before, shadows)
    assert before
    back(peopled, limits=QUICK.replaced(triggers="replica"))
    assert (count(rows, linked), count(rows, "SELECT count(*) FROM history")) == (0, 0)


def test_a_trigger_may_write_elsewhere_if_the_operator_accepts_it(peopled: Database, rows: Connection) -> None:
    rows.execute(
        "CREATE TABLE history (id bigint);"
        "CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO history VALUES (NEW.id); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER remember AFTER UPDATE ON atoms DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION remember()"
    )
    linked = count(rows, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NOT NULL")
    back(peopled, limits=QUICK.replaced(triggers="accept"))
    assert count(rows, "SELECT count(*) FROM history") == linked > 0


def test_a_shadow_that_a_reviewer_puts_back_into_review_meanwhile_stays(
    peopled: Database, rows: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reviewer's transaction begins after those that the rollback waits for have ended."""
    monkeypatch.setattr("knowledge_migration.engine.rollback.dual_write.wait_until_fenced", lambda *_, **__: None)
    (matched,) = rows.execute(
        "UPDATE topic_proposals SET status = 'auto_approved' WHERE id = (SELECT proposal.id FROM topic_proposals AS proposal "
        "WHERE review_action = 'dual_write' AND NOT EXISTS (SELECT FROM topics WHERE migrated_from_proposal_id = proposal.id) "
        "LIMIT 1) RETURNING id"
    ).fetchall()
    with peopled.connect("reviewer") as reviewer, ThreadPoolExecutor(1) as pool:
        reviewer.execute("BEGIN")
        reviewer.execute("UPDATE topic_proposals SET status = 'pending' WHERE id = %s", [matched["id"]])
        running = pool.submit(back, peopled, limits=QUICK.replaced(lock_timeout_ms=60_000))
        comes_true(lambda: count(rows, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0)
        reviewer.execute("COMMIT")
        running.result()
    left = rows.execute("SELECT status FROM topic_proposals WHERE id = %s", [matched["id"]]).fetchone()
    assert left == {"status": "pending"}


def test_legacy_rows_stay_and_lose_their_links_only(peopled: Database, rows: Connection, written: httpx.Client) -> None:
    before, runs = legacy_values(rows), count(rows, "SELECT count(*) FROM knowledge_extraction_runs")
    extent = dual_write_extent(rows)
    undone = rollback_dual_write(peopled, Flags(), PATIENT, reason="a test", limits=QUICK, batch_size=7)
    assert legacy_values(rows) == before
    assert undone.deleted_proposals == extent.shadows
    assert undone.kept_pending == extent.pending
    for table in ("topics", "atoms"):
        assert count(rows, f"SELECT count(*) FROM {table} WHERE migrated_from_proposal_id IS NOT NULL") == 0  # noqa: S608
    assert count(rows, SHADOWS.format("topic_proposals")) == count(rows, SHADOWS.format("atom_proposals")) == 0
    assert count(rows, "SELECT count(*) FROM knowledge_extraction_runs") == runs
    with peopled.begin() as transaction:
        flags = read_flags(transaction)
    assert flags is not None
    assert flags.state == "off"
    body = {"message_ids": [100], "user_id": 1}
    assert written.post("/knowledge/extract", json=body).json()["mode"] == "direct"


def test_what_waits_or_was_decided_by_a_reviewer_stays(
    peopled: Database, rows: Connection, written: httpx.Client
) -> None:
    pending = written.get("/knowledge/proposals?limit=200").json()["items"]
    assert len(pending) > 1
    approved = pending[0]["id"]
    written.post(f"/knowledge/proposals/{approved}/approve", json={"user_id": 1}).raise_for_status()
    back(peopled)
    left = written.get("/knowledge/proposals?limit=200").json()["items"]
    assert {item["id"] for item in left} == {item["id"] for item in pending} - {approved}
    proposal = written.get(f"/knowledge/proposals/{approved}").json()
    assert proposal["status"] == "approved"
    assert proposal["entity_id"] is not None


def test_backfilled_proposals_stay(peopled: Database, rows: Connection, written: httpx.Client) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('from before', '')")
    backfill(peopled)
    before = count(rows, "SELECT count(*) FROM topic_proposals WHERE review_action = 'auto_approve_migration'")
    back(peopled)
    assert before == 1
    assert count(rows, "SELECT count(*) FROM topic_proposals WHERE review_action = 'auto_approve_migration'") == 1
    backfill(peopled)
    assert broken_rules(rows) == {}


def test_a_second_rollback_does_nothing(peopled: Database, rows: Connection, written: httpx.Client) -> None:
    back(peopled)
    undone = rollback_dual_write(peopled, Flags(), PATIENT, reason="a test", limits=QUICK)
    assert sum(undone.deleted_proposals.values()) == 0


def test_a_row_that_is_never_let_go_is_told_and_dual_write_is_off(
    peopled: Database, rows: Connection, written: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge_migration.knowledge.writers.drain", lambda *_: None)
    with peopled.connect("a user") as user:
        user.execute("BEGIN")
        user.execute("SELECT FROM topics ORDER BY id LIMIT 1 FOR UPDATE")
        with pytest.raises(BlockedError, match="rows of it"):
            back(peopled)
        assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 1
        user.execute("ROLLBACK")
    back(peopled)
    assert count(rows, "SELECT count(*) FROM topics WHERE migrated_from_proposal_id IS NOT NULL") == 0


def test_nothing_is_taken_back_while_proposals_are_enabled(
    peopled: Database, rows: Connection, written: httpx.Client
) -> None:
    with peopled.begin() as transaction:
        set_flags(transaction, {"enabled": True}, initial=Flags(), actor="test", reason="cutover")
    with pytest.raises(PreconditionError, match="Proposals are enabled"):
        back(peopled, BRIEF)
    assert count(rows, SHADOWS.format("topic_proposals")) > 0


def test_every_removed_shadow_is_in_the_audit_log_and_an_edited_row_keeps_its_edit(
    peopled: Database, rows: Connection, written: httpx.Client
) -> None:
    (topic,) = written.get("/topics?limit=1").json()["items"]
    written.patch(f"/topics/{topic['id']}", json={"description": "edited"}).raise_for_status()
    before = {
        row["id"]: row["content"]
        for kind in ("topic", "atom")
        for row in rows.execute(
            f"SELECT id::text, to_jsonb(one) AS content FROM {kind}_proposals AS one WHERE review_action = 'dual_write'"  # noqa: S608
        )
    }
    back(peopled)
    removed = rows.execute(
        "SELECT subject, before, reason FROM migration.audit_log WHERE action = 'remove shadow'"
    ).fetchall()
    assert {row["subject"].split()[-1]: row["before"]["proposal"] for row in removed} == before
    assert {row["reason"] for row in removed} == {"a test"}
    assert written.get(f"/topics/{topic['id']}").json()["description"] == "edited"


def test_a_rollback_that_a_backfill_refuses_leaves_dual_write_on(
    peopled: Database, rows: Connection, written: httpx.Client
) -> None:
    with advisory_lock(rows, "backfill", shared=True), pytest.raises(BusyError):
        back(peopled)
    with peopled.begin() as transaction:
        flags = read_flags(transaction)
    assert flags is not None
    assert flags.dual_write


def test_dual_write_cannot_be_switched_on_while_it_is_rolled_back(
    peopled: Database, rows: Connection, written: httpx.Client
) -> None:
    back(peopled)
    with advisory_lock(rows, "backfill"), pytest.raises(BusyError):
        switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    with peopled.begin() as transaction:
        flags = read_flags(transaction)
    assert flags is not None
    assert not flags.dual_write


def test_the_proposal_of_a_row_that_a_user_deletes_while_the_rollback_waits_is_removed(
    peopled: Database, rows: Connection, written: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("knowledge_migration.knowledge.writers.drain", lambda *_: None)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with peopled.connect("a user") as user, ThreadPoolExecutor(1) as beside:
        user.execute("BEGIN")
        user.execute("DELETE FROM topics WHERE name = 'by hand'")
        undone = beside.submit(back, peopled, PATIENT, QUICK.replaced(lock_timeout_ms=60_000))
        comes_true(lambda: count(rows, waiting) > 0)
        user.execute("COMMIT")
        undone.result(60)
    assert count(rows, SHADOWS.format("topic_proposals")) == 0


def test_a_failed_shadow_is_not_repaired_while_dual_write_is_off(
    peopled: Database, rows: Connection, written: httpx.Client, tmp_path: Path
) -> None:
    back(peopled)
    topic = rows.execute("SELECT id FROM topics LIMIT 1").fetchone()
    assert topic is not None
    rows.execute(
        "INSERT INTO migration.shadow_failure (process, reason, content) "
        "VALUES ('test', 'a test', jsonb_build_object('manual_edit', 'topic', 'id', %s::bigint))",
        (topic["id"],),
    )
    done = command(peopled, "dual-write", "repair", home=tmp_path)
    assert done.returncode != 0
    assert "Dual write is off" in done.stdout + done.stderr
    assert count(rows, SHADOWS.format("topic_proposals")) == 0
