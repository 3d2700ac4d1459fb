"""Actions and subjects of the audit log: writers and readers share the constants."""

import re
from pathlib import Path
from typing import get_args
from uuid import uuid4

import pytest

from knowledge_migration.engine.foundation import audit as engine_audit
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.knowledge.tables import REVIEW_ACTIONS
from knowledge_migration.thresholds import STAGES

PACKAGE = Path(__file__).parents[2] / "knowledge_migration"
SQL = Path(__file__).parents[2] / "sql"


def test_an_action_that_is_no_constant_is_refused(rows: Connection) -> None:
    with pytest.raises(ValueError, match="no action"):
        engine_audit.record(rows, "no action", "a subject")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no action"):
        audit.entry("no action", "a subject", actor="somebody")  # type: ignore[arg-type]
    assert rows.execute("SELECT count(*) AS n FROM migration.audit_log").fetchone() == {"n": 0}


def test_both_drivers_write_the_same_entry(peopled: Database, rows: Connection) -> None:
    content = {"reason": "a test", "before": None, "after": {"a": 1}, "actor": "somebody"}
    engine_audit.record(rows, AuditAction.SET_FLAGS, "a subject", **content)
    with peopled.begin() as transaction:
        engine_audit.record(transaction, AuditAction.SET_FLAGS, "a subject", **content)
    columns = "actor, action, subject, before, after, reason, dagster_run_id"
    first, second = rows.execute(f"SELECT {columns} FROM migration.audit_log").fetchall()  # noqa: S608
    assert first == second
    assert first["before"] is None


def test_every_name_that_an_action_is_made_of_has_its_constant() -> None:
    assert {AuditAction(f"promote {stage}") for stage in STAGES}
    assert {AuditAction(f"rollback {rollback}") for rollback in get_args(RollbackKind)}
    assert set(audit.DECISIONS.values()) == set(REVIEW_ACTIONS) - {"dual_write", "auto_approve_migration"}
    assert {audit.decision_action(name) for name in audit.DECISIONS.values()} == set(audit.DECISIONS)


def test_a_subject_and_an_actor_can_be_read_again() -> None:
    for kind in KINDS:
        proposal_id = uuid4()
        subject = audit.proposal_subject(kind, proposal_id)
        assert re.fullmatch(audit.PROPOSAL_SUBJECT, subject)
        assert audit.proposal_of(subject) == (kind.name, proposal_id)
    match = re.search(audit.USER_OF_ACTOR, audit.reviewer_actor("ann", 7))
    assert match
    assert match[1] == "7"


def test_nothing_writes_to_the_audit_log_beside_what_is_listed() -> None:
    writers = [
        str(file.name)
        for file in (*PACKAGE.rglob("*.py"), *SQL.rglob("*.sql"))
        if re.search(r"insert\(audit_log\)|INSERT INTO migration\.audit_log", file.read_text(encoding="utf-8"))
    ]
    # a rollback records each row that it deletes in the statement that deletes it
    assert sorted(writers) == ["audit.py", "foundation.sql", "rollback.sql"]


def test_no_query_names_an_action_itself() -> None:
    quoted = {f"'{action}'" for action in AuditAction}
    wrong = [file.name for file in SQL.glob("*.sql") if any(text in file.read_text("utf-8") for text in quoted)]
    assert wrong == []
