"""The shadow of a direct write: its proposals, in a savepoint, so that a failure cannot harm the user's write.

A failure (a constraint, a timeout, a missing table, a bug) is rolled back alone, counted, and kept in
`migration.shadow_failure` with the extraction. `repair_next` creates the proposals later; it changes no row that a user wrote.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.entity_kinds import ATOM, KIND_BY_NAME, TOPIC, EntityKind
from knowledge_migration.knowledge.errors import sqlstate
from knowledge_migration.knowledge.extraction.model import GivenExtraction
from knowledge_migration.knowledge.tables import knowledge_extraction_runs as runs
from knowledge_migration.knowledge.tables import shadow_failure, users
from knowledge_migration.knowledge.writing.direct import DirectResult
from knowledge_migration.knowledge.writing.manual_edits import record_origin
from knowledge_migration.knowledge.writing.proposing import write_proposals
from knowledge_migration.knowledge.writing.runs import RunOrigin, open_run

log = logging.getLogger(__name__)

T = TypeVar("T")


def in_shadow(
    connection: sa.Connection,
    work: Callable[[], T],
    content: Callable[[], dict[str, Any]],
    *,
    run_id: UUID | None,
    timeout_ms: int,
    process: str,
) -> T | None:
    """Does `work` in a savepoint; returns None when it failed, and keeps what `content` returns for the repair.

    Call it last in a transaction (reads may follow): the commit releases the savepoint, which saves a round trip. Raises
    only when the connection is lost: then the direct write is lost too.
    """
    _execute(connection, "SAVEPOINT shadow", f"SET LOCAL statement_timeout = {int(timeout_ms)}")
    try:
        return work()
    except Exception as error:  # any failure of the shadow, whatever its type, must not reach the user
        if connection.invalidated or connection.closed:
            raise
        _execute(connection, "ROLLBACK TO SAVEPOINT shadow", "RELEASE SAVEPOINT shadow")
        _keep(connection, error, content(), run_id, process)
        return None


def _execute(connection: sa.Connection, *commands: str) -> None:
    """In one round trip, where the driver sends several commands at once: asyncpg prepares each."""
    for command in commands if connection.dialect.driver == "asyncpg" else ["; ".join(commands)]:
        connection.exec_driver_sql(command)


def uncaptured(connection: sa.Connection) -> None:
    """For a transaction that writes the proposals of its rows itself: the triggers of the capture leave them alone."""
    connection.exec_driver_sql("SET LOCAL knowledge_migration.capture = off")


def quietly(connection: sa.Connection, work: Callable[[], None], what: str) -> None:
    """Does `work` in a savepoint; logs a failure, which changes nothing else."""
    try:
        with connection.begin_nested():
            work()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        log.warning("%s failed, the rest of the transaction stays: %s", what, error.orig)


def _keep(
    connection: sa.Connection, error: Exception, content: dict[str, Any], run_id: UUID | None, process: str
) -> None:
    cause = getattr(error, "orig", error)
    reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
    log.warning("The shadow of extraction run %s failed, the direct result stays: %s", run_id, reason)
    row = {
        "extraction_run_id": run_id,
        "process": process,
        "sqlstate": sqlstate(error),
        "reason": reason,
        "content": content,
    }
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(shadow_failure).values(row))
    except sa.exc.DBAPIError as second:
        if second.connection_invalidated:
            raise
        log.error(
            "The failed shadow of run %s could not be kept for repair: %s; it held %s", run_id, second.orig, content
        )


def open_failures(connection: sa.Connection) -> int:
    """How many shadows failed and are not repaired."""
    query = sa.select(sa.func.count()).select_from(shadow_failure).where(shadow_failure.c.repaired_at.is_(None))
    return int(connection.execute(query).scalar_one())


def open_rows(connection: sa.Connection) -> int:
    """How many rows of these direct writes have no proposal."""
    ids: dict[str, set[int]] = {kind.name: set() for kind in KIND_BY_NAME.values()}
    contents = sa.select(shadow_failure.c.content).where(shadow_failure.c.repaired_at.is_(None))
    for content in connection.execute(contents).scalars():
        if "manual_edit" in content:
            ids[content["manual_edit"]].add(content["id"])
        else:
            ids["topic"] |= {row_id for _, row_id in content["created_topics"]}
            ids["atom"] |= {row_id for _, row_id in content["atom_ids"]}
    counts = [
        sa.select(sa.func.count()).where(
            columns.id.in_(sorted(ids[kind.name])), columns.migrated_from_proposal_id.is_(None)
        )
        for kind in KIND_BY_NAME.values()
        for columns in (kind.entities.c,)
    ]
    return sum(int(connection.execute(query).scalar_one()) for query in counts)


def repair_next(connection: sa.Connection) -> bool:
    """Creates the proposals of the oldest failed shadow, in the caller's transaction; returns False when there is none.

    Skips rows that a user has deleted since, or that have a proposal now.
    """
    columns = shadow_failure.c
    oldest = sa.select(shadow_failure).where(columns.repaired_at.is_(None)).order_by(columns.id).limit(1)
    failure = connection.execute(oldest.with_for_update(skip_locked=True)).mappings().one_or_none()
    if failure is None:
        return False
    content = failure["content"]
    if "manual_edit" in content:
        kind = KIND_BY_NAME[content["manual_edit"]]
        if _unlinked(connection, kind, [content["id"]]):
            record_origin(connection, kind, content["id"], failure["process"])
    else:
        _propose(connection, failure)
    repaired = sa.update(shadow_failure).where(columns.id == failure["id"])
    connection.execute(repaired.values(repaired_at=sa.func.clock_timestamp()))
    return True


def _propose(connection: sa.Connection, failure: sa.RowMapping) -> None:
    content = failure["content"]
    origin = RunOrigin(
        "dual_write",
        failure["process"],
        content["flag_version"],
        content["extractor"],
        tuple(content["message_ids"]),
        connection.execute(sa.select(users.c.id).where(users.c.id == content["user_id"])).scalar_one_or_none(),
    )
    run = sa.select(runs.c.id).where(runs.c.id == failure["extraction_run_id"])
    run_id = connection.execute(run).scalar_one_or_none() or open_run(connection, origin)
    write_proposals(connection, run_id, origin, *_still_needed(connection, content))


def _still_needed(connection: sa.Connection, content: dict[str, Any]) -> tuple[GivenExtraction, DirectResult]:
    """The extraction and its direct result without what became a row that is gone, or linked already."""
    given = GivenExtraction.model_validate(content["extraction"])
    ids = TOPIC.entities.c.id
    existing = set(connection.execute(sa.select(ids).where(ids.in_(content["topic_ids"].values()))).scalars())
    topics, created = _remaining(connection, TOPIC, given.topics, content["created_topics"])
    atoms, atom_ids = _remaining(connection, ATOM, given.atoms, content["atom_ids"])
    known = {name: topic_id for name, topic_id in content["topic_ids"].items() if topic_id in existing}
    return given.model_copy(update={"topics": tuple(topics), "atoms": tuple(atoms)}), DirectResult(
        known, created, atom_ids
    )


def _remaining(
    connection: sa.Connection, kind: EntityKind, items: Sequence[T], rows: list[list[int]]
) -> tuple[list[T], dict[int, int]]:
    """The items without a row, or whose row has no proposal; and the ids of these rows, by the new places."""
    written = {int(place): int(row_id) for place, row_id in rows}
    unlinked = _unlinked(connection, kind, list(written.values()))
    kept = [place for place in range(len(items)) if place not in written or written[place] in unlinked]
    ids = {new: written[place] for new, place in enumerate(kept) if place in written}
    return [items[place] for place in kept], ids


def _unlinked(connection: sa.Connection, kind: EntityKind, ids: list[int]) -> set[int]:
    columns = kind.entities.c
    query = sa.select(columns.id).where(columns.id.in_(ids), columns.migrated_from_proposal_id.is_(None))
    return set(connection.execute(query.with_for_update(key_share=True)).scalars())
