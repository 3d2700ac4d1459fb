"""Judges every criterion as things stand, keeps the result, and takes the word of a person (strategy §11.1)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from knowledge_migration.engine.foundation import audit, evidence
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.validation.criteria.checklist import BY_KEY, CHECKLIST, SECTIONS
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.engine.validation.criteria.model import Criterion, Judged, Judgement
from knowledge_migration.knowledge.audit import AuditAction

EVIDENCE = "success_criteria"
CONFIRMATION = "confirmation"


def evaluate(facts: Facts, *, sections: Sequence[str] = SECTIONS) -> list[Judged]:
    """Each criterion with its verdict. What a person has confirmed holds by their word, as long as nothing says otherwise."""
    confirmed = confirmations(facts.connection)
    return [
        Judged(criterion, _with_word(_judged(facts, criterion), confirmed.get(criterion.key)))
        for criterion in CHECKLIST
        if criterion.section in sections
    ]


def record(connection: Connection, judged: Sequence[Judged], *, dagster_run_id: str | None = None) -> None:
    """Keeps the verdicts as evidence."""
    evidence.record(connection, EVIDENCE, {"rows": [one.as_row() for one in judged]}, dagster_run_id=dagster_run_id)


def confirm(database: Database, key: str, *, words: str, withdrawn: bool = False) -> None:
    """Keeps a person's word about a criterion that only a person can judge, or takes it back; audited.

    Raises `PreconditionError` when there is no such criterion, or the evidence store is missing.
    """
    if key not in BY_KEY:
        raise PreconditionError(f"There is no criterion {key}. Those there are: {', '.join(BY_KEY)}.")
    with database.connect("confirmation") as connection, connection.transaction():
        content = {"criterion": key, "confirmed": not withdrawn, "by": audit.operator(), "words": words}
        evidence.record(connection, CONFIRMATION, content)
        action = AuditAction.WITHDRAW_CONFIRMATION if withdrawn else AuditAction.CONFIRM_CRITERION
        audit.record(connection, action, key, reason=words, after=content)


def confirmations(connection: Connection) -> dict[str, dict[str, Any]]:
    """The latest word about each criterion, of those that stand."""
    try:
        rows = connection.execute(text_of("validation/criteria_confirmations")).fetchall()
    except NOT_SO_FAR:
        return {}
    return {
        row["criterion"]: {**row["content"], "at": row["recorded_at"]} for row in rows if row["content"]["confirmed"]
    }


def _judged(facts: Facts, criterion: Criterion) -> Judgement:
    try:
        return criterion.judge(facts)
    except PreconditionError as error:
        return Judgement("not shown", str(error), "nothing yet")
    except MigrationError as error:
        return Judgement("fails", str(error), type(error).__name__)
    except NOT_SO_FAR:
        return Judgement("not shown", "This database has not come so far.", "nothing yet")


def _with_word(found: Judgement, word: dict[str, Any] | None) -> Judgement:
    """A person decides what is theirs to decide; what was measured stays as measured."""
    if word is None or found.verdict != "for a person":
        return found
    said = f"{word['by']} confirmed: {word['words']}"
    return replace(found, verdict="holds", words=f"{said} {found.words}", source="a person", at=word["at"])
