"""Rows that cannot become a proposal as they are: the list, and what an operator decides about them.

The row itself is never touched. `retry` after a fix at its source, `clamp` for a confidence out of range (a review note
says so), `accept` to leave it without a proposal; every decision is audited.
"""

from collections.abc import Sequence
from typing import Any, Literal

from knowledge_migration.engine.foundation import audit
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import EntityName

Decision = Literal["retry", "clamp", "accept"]

_STATE_AND_POLICY: dict[Decision, tuple[str, str]] = {
    "retry": ("retry", "as_it_is"),
    "clamp": ("retry", "clamp_confidence"),
    "accept": ("accepted", "as_it_is"),
}


def quarantined(connection: Connection, state: str | None = None) -> list[dict[str, Any]]:
    """The rows set aside, of one state or all."""
    return connection.execute(text_of("backfill/quarantine_list"), {"state": state}).fetchall()


def decide(
    connection: Connection,
    entity: EntityName,
    row_ids: Sequence[int],
    decision: Decision,
    *,
    note: str,
    actor: str | None = None,
) -> None:
    """Records the decision for these rows, all or none; the next backfill or completion acts on it.

    Raises `MigrationError` naming the ids that are not in quarantine or already have their proposal.
    """
    if decision == "clamp" and entity != "atom":
        raise MigrationError("Only atoms have a confidence that could be clamped; use retry or accept for topics.")
    if not row_ids:
        raise MigrationError(
            "No row is named to decide about; `knowledge-migration quarantine list` shows those that wait."
        )
    actor = actor or audit.operator()
    state, policy = _STATE_AND_POLICY[decision]
    parameters = {"entity": entity, "row_ids": list(row_ids), "state": state, "policy": policy}
    with connection.transaction():
        decided = connection.execute(
            text_of("backfill/quarantine_decide"), {**parameters, "actor": actor, "note": note}
        ).fetchall()
        missing = sorted(set(row_ids) - {row["row_id"] for row in decided})
        if missing:
            raise MigrationError(
                f"No {entity} {', '.join(map(str, missing))} waits in quarantine. Nothing was decided; "
                "`knowledge-migration quarantine list` shows those that do."
            )
        audit.record(
            connection,
            AuditAction(f"quarantine {decision}"),
            f"{entity} {', '.join(map(str, row_ids))}",
            reason=note,
            actor=actor,
            after={"state": state, "policy": policy},
        )
