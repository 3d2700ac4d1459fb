"""What somebody changes behind the migration's back is seen: the audit log, triggers, decisions, dates, flags, copies."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from knowledge_migration.engine.cutover.state import read_cutover_state
from knowledge_migration.engine.dual_write import fence, switch
from knowledge_migration.engine.foundation import audit, check_record, evidence
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError
from knowledge_migration.engine.schema.phase import schema_outcome
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.flags import Flags, set_flags
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, cloned
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, fill
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving
from knowledge_migration_tests.support.fence_timeouts import PATIENT

NOTHING: dict[str, int] = {}
ALTERED = {"audit_log_is_unaltered"}


@pytest.fixture(scope="module")
def template(server: EmbeddedServer) -> Iterator[str]:
    """The name of a backfilled database whose audit log has five entries, three of them sealed."""
    with cloned(server, EXPANDED_TEMPLATE) as database, database.connect("test template") as connection:
        fill(database)
        backfill(database)
        for number in range(3):
            audit.record(connection, "set flags", f"entry {number}", reason="a test", after={"n": number})
        assert audit.seal(connection)
        for number in range(2):
            audit.record(connection, "set flags", f"later entry {number}")
        connection.close()
        yield database.name


@pytest.fixture
def backfilled(server: EmbeddedServer, template: str) -> Iterator[Database]:
    """A copy of it."""
    with cloned(server, template) as copy:
        yield copy


@pytest.fixture
def migrated(backfilled: Database) -> Iterator[Connection]:
    """A session on it."""
    with backfilled.connect("test") as connection:
        yield connection


def tamper(connection: Connection, statement: str) -> None:
    connection.execute("ALTER TABLE migration.audit_log DISABLE TRIGGER ALL")
    connection.execute(statement)
    connection.execute("ALTER TABLE migration.audit_log ENABLE TRIGGER ALL")


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE migration.audit_log",
        "DELETE FROM migration.audit_log WHERE subject = 'entry 1'",
        "UPDATE migration.audit_log SET actor = 'somebody else' WHERE subject = 'entry 0'",
        """UPDATE migration.audit_log SET after = '{"n": 7}' WHERE subject = 'entry 2'""",
        "UPDATE migration.audit_log SET at = at + interval '1 second' WHERE subject = 'entry 2'",
    ],
)
def test_sealed_entries_that_were_altered_or_removed_break_a_rule(migrated: Connection, statement: str) -> None:
    assert broken_rules(migrated) == NOTHING
    tamper(migrated, statement)
    assert broken_rules(migrated).keys() == ALTERED


def test_seals_form_a_chain_and_a_lost_one_breaks_the_rule(migrated: Connection) -> None:
    assert audit.seal(migrated)
    assert audit.seal(migrated), "nothing new is no failure"
    assert broken_rules(migrated) == NOTHING
    sealed = migrated.execute("SELECT content FROM migration.evidence WHERE kind = 'audit_seal' ORDER BY id").fetchall()
    assert [row["content"]["entries"] for row in sealed][-1] == 2
    assert sealed[1]["content"]["previous"] == sealed[0]["content"]["hash"]
    migrated.execute("DELETE FROM migration.evidence WHERE kind = 'audit_seal' AND content ->> 'above_id' = '0'")
    assert broken_rules(migrated).keys() == ALTERED


def test_a_seal_waits_for_nobody(migrated: Connection, backfilled: Database) -> None:
    with backfilled.connect("a writer") as writer, writer.transaction():
        audit.record(writer, "set flags", "not committed yet")
        assert not audit.seal(migrated)
    assert audit.seal(migrated)
    assert broken_rules(migrated) == NOTHING


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("ALTER TABLE topics DISABLE TRIGGER ALL", "topics_migrated_from_proposal_id_fkey of topics"),
        ("ALTER TABLE atom_proposals DISABLE TRIGGER ALL", "of atom_proposals"),
        ("ALTER TABLE migration.audit_log DISABLE TRIGGER ALL", "audit_log_is_append_only of migration.audit_log"),
        ("ALTER TABLE feature_flags DISABLE TRIGGER USER", "every_flag_change_has_a_version of feature_flags"),
        ("DROP TRIGGER audit_log_is_append_only ON migration.audit_log", "audit_log_is_append_only"),
    ],
)
def test_a_trigger_of_ours_that_is_disabled_is_named_by_the_schema_check(
    migrated: Connection, backfilled: Database, statement: str, names: str
) -> None:
    assert schema_outcome(backfilled, 20).passed
    migrated.execute(statement)
    outcome = schema_outcome(backfilled, 20)
    assert any(names in row["object"] and "not enforced" in row["actual"] for row in outcome.sample), outcome.sample


def test_a_row_is_accepted_by_an_audited_decision_only(migrated: Connection) -> None:
    migrated.execute("UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id IN (1, 2)")
    migrated.execute(
        "INSERT INTO migration.quarantine (entity, row_id, state, sqlstate, reason) "
        "VALUES ('atom', 1, 'accepted', 'x', ''), ('atom', 2, 'accepted', 'x', '')"
    )
    (rule,) = [rule for rule in rules.RULES if rule.name == "quarantine_is_decided"]
    found = rules.evaluate(migrated, rule)
    assert [row["row_id"] for row in found.sample] == [1, 2]


def test_evidence_dated_in_the_future_is_an_error(migrated: Connection) -> None:
    evidence.record(migrated, "verified_backup", {})
    assert evidence.require(migrated, "verified_backup", made_by="a test").age_hours() < 1
    migrated.execute("UPDATE migration.evidence SET recorded_at = now() + interval '3 years'")
    with pytest.raises(VerificationError, match="is in the future"):
        evidence.require(migrated, "verified_backup", made_by="a test", max_age_hours=24)


@pytest.fixture
def proven(expanded: Database, rows: Connection) -> Database:
    """Dual write is proven."""
    rows.execute(PEOPLE_AND_MESSAGES)
    with serving(expanded):
        switch.switch_on(expanded, Flags(), PATIENT, reason="a test")
    assert fence.proven_fence(expanded)
    return expanded


def change_flags(database: Database, **changes: object) -> Flags:
    """As `knowledge-migration flags set` does it."""
    with database.begin() as transaction:
        return set_flags(transaction, changes, initial=Flags(), actor="a test", reason="a test")


@pytest.mark.parametrize("version", ["version + 1", "version", "0"])
def test_flags_that_nobody_audited_end_the_proof_of_dual_write(
    proven: Database, rows: Connection, version: str
) -> None:
    for dual_write in ("false", "true"):
        change = (
            f"""UPDATE feature_flags SET config = config || '{{"dual_write": {dual_write}}}', version = {version}"""  # noqa: S608
        )
        rows.execute(change.encode())
    with pytest.raises(PreconditionError, match="without the audit log"):
        fence.proven_fence(proven)
    change_flags(proven, auto_approve_threshold=0.9)
    with pytest.raises(PreconditionError, match="changed 2 times without the audit log"):
        fence.proven_fence(proven)


def test_flags_deleted_and_inserted_again_with_their_version_end_the_proof(proven: Database, rows: Connection) -> None:
    for dual_write in ("false", "true"):
        rows.execute("CREATE TEMP TABLE kept AS SELECT * FROM feature_flags; DELETE FROM feature_flags")
        rows.execute(f"""UPDATE kept SET config = config || '{{"dual_write": {dual_write}}}'""".encode())  # noqa: S608
        rows.execute("INSERT INTO feature_flags SELECT * FROM kept; DROP TABLE kept")
    with pytest.raises(PreconditionError, match="without the audit log"):
        fence.proven_fence(proven)
    change_flags(proven, auto_approve_threshold=0.9)
    with pytest.raises(PreconditionError, match="changed 1 times without the audit log"):
        fence.proven_fence(proven)


def test_a_change_of_flags_that_nobody_audited_begins_the_stage_anew(proven: Database, rows: Connection) -> None:
    began = read_cutover_state(proven).since
    change_flags(proven, auto_approve_threshold=0.9)
    assert read_cutover_state(proven).since == began
    for enabled in ("true", "false"):
        rows.execute(f"UPDATE feature_flags SET enabled = {enabled}".encode())  # noqa: S608
    change_flags(proven, auto_approve_threshold=0.91)
    assert read_cutover_state(proven).since > began


def test_a_copy_of_a_database_has_no_evidence_checks_or_seals_of_its_own(
    migrated: Connection, backfilled: Database, server: EmbeddedServer
) -> None:
    evidence.record(migrated, "verified_backup", {})
    check_record.record(migrated, [CheckRecord("a_check", True, datetime.now(UTC), asset="x")], dagster_run_id=None)
    assert len(check_record.recorded(migrated)) == 1
    migrated.close()
    with cloned(server, backfilled.name, adopted=False) as copy, copy.connect("test") as connection:
        assert check_record.recorded(connection) == ()
        with pytest.raises(PreconditionError, match=f"is of the database {backfilled.name}; this one is a copy"):
            evidence.require(connection, "verified_backup", made_by="a test")
        assert broken_rules(connection) == NOTHING
