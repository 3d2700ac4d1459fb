"""Reads and writes the application's topics and atoms as before the migration (the legacy routes).

Where the flags record origins, a row that a user writes gets its proposal in the shadow; once the old paths are retired, in the
same statement.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.entity_kinds import TOPIC, EntityKind
from knowledge_migration.knowledge.errors import ConflictError, UnknownError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.tables import atom_links, atoms, topic_atoms
from knowledge_migration.knowledge.writing.manual_edits import create_with_origin, record_origin
from knowledge_migration.knowledge.writing.modes import confirmed
from knowledge_migration.knowledge.writing.shadow import in_shadow, uncaptured


def list_entities(
    connection: sa.Connection, kind: EntityKind, limit: int, after_id: int | None = None, topic_id: int | None = None
) -> list[dict[str, Any]]:
    """Rows by ascending id, above `after_id` if given; of one topic if asked. Raises `UnknownError` for an unknown topic."""
    table = kind.entities
    query = _shown(kind).order_by(table.c.id).limit(limit)
    if after_id is not None:
        query = query.where(table.c.id > after_id)
    if topic_id is not None:
        one_entity(connection, TOPIC, topic_id)
        query = query.join(topic_atoms, topic_atoms.c.atom_id == table.c.id).where(topic_atoms.c.topic_id == topic_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def one_entity(connection: sa.Connection, kind: EntityKind, entity_id: int) -> dict[str, Any]:
    """One row; raises `UnknownError`."""
    row = connection.execute(_shown(kind).where(kind.entities.c.id == entity_id)).mappings().one_or_none()
    if row is None:
        raise UnknownError(f"There is no {kind.name} {entity_id}.")
    return dict(row)


def create_entity(
    connection: sa.Connection,
    kind: EntityKind,
    values: Mapping[str, Any],
    *,
    flags: Flags,
    options: ServiceOptions,
    process: str,
    topic_ids: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Writes a new row; raises `ConflictError` for a topic name that exists, `UnknownError` for a topic that does not."""
    flags = confirmed(connection, flags)
    table = kind.entities
    if flags.records_origins:
        uncaptured(connection)
    try:
        if flags.legacy_paths_retired:
            entity_id = create_with_origin(connection, kind, values, process, flags.version, topic_ids)
        else:
            entity_id = connection.execute(sa.insert(table).values(**values).returning(table.c.id)).scalar_one()
        if topic_ids:
            relations = [{"topic_id": topic_id, "atom_id": entity_id} for topic_id in dict.fromkeys(topic_ids)]
            connection.execute(sa.insert(topic_atoms), relations)
    except sa.exc.IntegrityError as error:
        raise _refused(error, values) from error
    if flags.records_origins and not flags.legacy_paths_retired:
        in_shadow(
            connection,
            lambda: record_origin(connection, kind, entity_id, process, flags.version),
            lambda: {"manual_edit": kind.name, "id": entity_id},
            run_id=None,
            timeout_ms=options.shadow_timeout_ms,
            process=process,
        )
    return one_entity(connection, kind, entity_id)


def change_entity(
    connection: sa.Connection, kind: EntityKind, entity_id: int, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Changes some values of a row; raises `UnknownError`, or `ConflictError` for a topic name that exists."""
    table = kind.entities
    if values:
        change = sa.update(table).where(table.c.id == entity_id).values(**values, updated_at=sa.func.now())
        try:
            connection.execute(change)
        except sa.exc.IntegrityError as error:
            raise _refused(error, values) from error
    return one_entity(connection, kind, entity_id)


def delete_atom(connection: sa.Connection, atom_id: int, *, actor: str) -> None:
    """Deletes an atom with its relations, and records their keys; its proposal stays on record. Raises `UnknownError`."""
    locked = sa.select(atoms.c.id).where(atoms.c.id == atom_id).with_for_update()
    if connection.execute(locked).one_or_none() is None:
        raise UnknownError(f"There is no atom {atom_id}.")
    removed: dict[str, list[dict[str, int]]] = {}
    for column in (topic_atoms.c.atom_id, atom_links.c.from_atom_id, atom_links.c.to_atom_id, atoms.c.id):
        deleted = sa.delete(column.table).where(column == atom_id).returning(*column.table.primary_key)
        removed.setdefault(column.table.name, []).extend(map(dict, connection.execute(deleted).mappings()))
    _record_deletion(connection, f"atom {atom_id}", removed, actor)


def _record_deletion(connection: sa.Connection, subject: str, removed: Mapping[str, Any], actor: str) -> None:
    """Writes the audit entry, unless the audit log does not exist or is not granted yet: users delete before phase 1, too."""
    entry = audit.entry(AuditAction.DELETE_ROW, subject, actor=actor, before={"removed": removed})
    with suppress(sa.exc.ProgrammingError), connection.begin_nested():
        connection.execute(entry)


def _shown(kind: EntityKind) -> sa.Select[Any]:
    return sa.select(*(kind.entities.c[name] for name in kind.shown))


def _refused(error: sa.exc.IntegrityError, values: Mapping[str, Any]) -> Exception:
    if isinstance(error.orig, psycopg.errors.UniqueViolation) and "name" in values:
        return ConflictError(f"There is a topic {values['name']!r} already.")
    if isinstance(error.orig, psycopg.errors.ForeignKeyViolation):
        return UnknownError("One of the topics does not exist; nothing was written.")
    return error
