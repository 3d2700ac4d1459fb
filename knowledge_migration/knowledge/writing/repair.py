"""Makes the proposals of shadows that failed, from what was kept of them. Nothing that a user has changed since is touched."""

from typing import Any

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import ATOM, KIND_BY_NAME, TOPIC, EntityKind
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.tables import shadow_failure, users
from knowledge_migration.knowledge.writing.direct import DirectResult
from knowledge_migration.knowledge.writing.manual_edits import record_origin
from knowledge_migration.knowledge.writing.proposing import write_proposals
from knowledge_migration.knowledge.writing.runs import RunOrigin, open_run


def open_failures(connection: sa.Connection) -> int:
    """How many shadows failed and are not repaired."""
    query = sa.select(sa.func.count()).select_from(shadow_failure).where(shadow_failure.c.repaired_at.is_(None))
    return int(connection.execute(query).scalar_one())


def repair_next(connection: sa.Connection) -> bool:
    """Makes the proposals of the oldest failed shadow, in the caller's transaction; False when there is none left.

    Rows that a user has deleted since, or that have a proposal by now, are passed over.
    """
    columns = shadow_failure.c
    oldest = sa.select(shadow_failure).where(columns.repaired_at.is_(None)).order_by(columns.id).limit(1)
    row = connection.execute(oldest.with_for_update(skip_locked=True)).mappings().one_or_none()
    if row is None:
        return False
    content = row["content"]
    if "manual_edit" in content:
        kind = KIND_BY_NAME[content["manual_edit"]]
        if _unlinked(connection, kind, [content["id"]]):
            record_origin(connection, kind, content["id"], row["process"])
    else:
        _propose(connection, row)
    connection.execute(
        sa.update(shadow_failure).where(columns.id == row["id"]).values(repaired_at=sa.func.clock_timestamp())
    )
    return True


def _propose(connection: sa.Connection, row: sa.RowMapping) -> None:
    content = row["content"]
    origin = RunOrigin(
        "dual_write",
        row["process"],
        content["flag_version"],
        content["extractor"],
        tuple(content["message_ids"]),
        _known_user(connection, content["user_id"]),
    )
    kept = sa.select(runs.c.id).where(runs.c.id == row["extraction_run_id"])
    run_id = connection.execute(kept).scalar_one_or_none() or open_run(connection, origin)
    extraction = Extraction.model_validate(content["extraction"])
    write_proposals(connection, run_id, origin, extraction, _still_there(connection, content))


def _known_user(connection: sa.Connection, user_id: int | None) -> int | None:
    return connection.execute(sa.select(users.c.id).where(users.c.id == user_id)).scalar_one_or_none()


def _still_there(connection: sa.Connection, content: dict[str, Any]) -> DirectResult:
    """The direct result without what is gone, or linked already."""
    created = {int(place): int(row_id) for place, row_id in content["created_topics"]}
    atoms = {int(place): int(row_id) for place, row_id in content["atom_ids"]}
    ids = TOPIC.entities.c.id
    existing = set(connection.execute(sa.select(ids).where(ids.in_(content["topic_ids"].values()))).scalars())
    unlinked_topics = _unlinked(connection, TOPIC, list(created.values()))
    unlinked_atoms = _unlinked(connection, ATOM, list(atoms.values()))
    return DirectResult(
        {name: topic_id for name, topic_id in content["topic_ids"].items() if topic_id in existing},
        {place: topic_id for place, topic_id in created.items() if topic_id in unlinked_topics},
        {place: atom_id for place, atom_id in atoms.items() if atom_id in unlinked_atoms},
    )


def _unlinked(connection: sa.Connection, kind: EntityKind, ids: list[int]) -> set[int]:
    columns = kind.entities.c
    query = sa.select(columns.id).where(columns.id.in_(ids), columns.migrated_from_proposal_id.is_(None))
    return set(connection.execute(query.with_for_update(key_share=True)).scalars())
