"""Judges all criteria, records the result, and records confirmations by a person (strategy §11.1)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.validation.criteria.checklist import CHECKLIST
from knowledge_migration.engine.validation.criteria.facts import Criterion, Facts, Judged, Judgement
from knowledge_migration.knowledge.audit import AuditAction

EVIDENCE = "success_criteria"
CONFIRMATION = "confirmation"


def evaluate(facts: Facts) -> list[Judged]:
    """Judges each criterion; a confirmation counts for a criterion that only a person can judge."""
    confirmed = confirmations(facts.connection)
    return [
        Judged(criterion, _with_confirmation(_judgement(facts, criterion), confirmed.get(criterion.key)))
        for criterion in CHECKLIST
    ]


def record(connection: Connection, judged: Sequence[Judged], *, dagster_run_id: str | None = None) -> None:
    """Records the verdicts as evidence."""
    evidence.record(connection, EVIDENCE, {"rows": [one.as_row() for one in judged]}, dagster_run_id=dagster_run_id)


def confirm(database: Database, key: str, *, reason: str, withdrawn: bool = False) -> None:
    """Records or withdraws a person's confirmation of a criterion, with an audit entry.

    Raises `PreconditionError` for an unknown criterion, or without an evidence store.
    """
    keys = [criterion.key for criterion in CHECKLIST]
    if key not in keys:
        raise PreconditionError(f"There is no criterion {key}. The criteria are: {', '.join(keys)}.")
    with database.connect("confirmation") as connection, connection.transaction():
        content = {"criterion": key, "confirmed": not withdrawn, "by": audit.operator(), "reason": reason}
        evidence.record(connection, CONFIRMATION, content)
        action = AuditAction.WITHDRAW_CONFIRMATION if withdrawn else AuditAction.CONFIRM_CRITERION
        audit.record(connection, action, key, reason=reason, after=content)


def confirmations(connection: Connection) -> dict[str, dict[str, Any]]:
    """The latest confirmation of each criterion, without withdrawn ones."""
    try:
        rows = connection.execute(text_of("validation/criteria_confirmations")).fetchall()
    except NOT_SO_FAR:
        return {}
    return {
        row["criterion"]: {**row["content"], "at": row["recorded_at"]} for row in rows if row["content"]["confirmed"]
    }


def _judgement(facts: Facts, criterion: Criterion) -> Judgement:
    try:
        return criterion.judge(facts)
    except PreconditionError as error:
        return Judgement("no evidence yet", str(error), "none")
    except MigrationError as error:
        return Judgement("not met", str(error), type(error).__name__)
    except NOT_SO_FAR:
        return Judgement("no evidence yet", "The phase has not run on this database yet.", "none")


def _with_confirmation(judgement: Judgement, confirmation: dict[str, Any] | None) -> Judgement:
    """A confirmation changes only what is for a person; measurements stay."""
    if confirmation is None or judgement.verdict != "for a person":
        return judgement
    message = f"{confirmation['by']} confirmed: {confirmation['reason']} {judgement.message}"
    return replace(judgement, verdict="met", message=message, source="a person", at=confirmation["at"])
