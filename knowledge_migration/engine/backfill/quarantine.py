"""Rows that cannot become a proposal as they are: the list, and the operator's decisions about them.

The rows themselves are never changed. `retry` after a fix at the source; `clamp` for a confidence out of range (a review
note records it); `accept` leaves the row without a proposal. Every decision is audited.
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
LIST = "`knowledge-migration quarantine list` shows the quarantined rows."


def quarantined(connection: Connection, state: str | None = None) -> list[dict[str, Any]]:
    """The quarantined rows of one state, or of all states."""
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
    """Records the decision for all of these rows or none; the next backfill or completion applies it.

    Raises `MigrationError` naming the ids that are not in quarantine or already have their proposal.
    """
    if decision == "clamp" and entity != "atom":
        raise MigrationError("Only atoms have a confidence that can be clamped; use retry or accept for topics.")
    if not row_ids:
        raise MigrationError(f"The decision names no row. {LIST}")
    state, policy = _STATE_AND_POLICY[decision]
    values = {"state": state, "policy": policy}
    parameters = {
        **values,
        "entity": entity,
        "row_ids": list(row_ids),
        "actor": actor or audit.operator(),
        "note": note,
    }
    with connection.transaction():
        decided = connection.execute(text_of("backfill/quarantine_decide"), parameters).fetchall()
        missing = sorted(set(row_ids) - {row["row_id"] for row in decided})
        if missing:
            raise MigrationError(
                f"No {entity} {', '.join(map(str, missing))} waits in quarantine. No decision was recorded. {LIST}"
            )
        audit.record(
            connection,
            AuditAction(f"quarantine {decision}"),
            f"{entity} {', '.join(map(str, row_ids))}",
            reason=note,
            actor=actor,
            after={**values, "entity": entity, "row_ids": list(row_ids)},
        )
