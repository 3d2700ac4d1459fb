"""Writes an extraction in one of the three modes (strategy §7.2), in the caller's transaction.

Direct is as before the migration; dual write adds the shadow; proposal writes proposals only and approves those of high
confidence at once. The flags at this moment decide, so every transaction that begins after a change uses the new flags.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.errors import UNDEFINED_TABLE, sqlstate
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags, Mode, present_flags, route
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.proposals.auto_approval import approve_eligible_of_run
from knowledge_migration.knowledge.proposals.review import Decision
from knowledge_migration.knowledge.writing.direct import NOTHING_WRITTEN, DirectResult, write_direct
from knowledge_migration.knowledge.writing.proposing import Proposed, write_proposals
from knowledge_migration.knowledge.writing.runs import RunOrigin, complete_run, open_run
from knowledge_migration.knowledge.writing.shadow import in_shadow, quietly, uncaptured


@dataclass(frozen=True)
class Written:
    """What one extraction wrote; `run_id` is None only where there is no table for runs yet."""

    run_id: UUID | None
    mode: Mode
    direct: DirectResult = NOTHING_WRITTEN
    proposed: Proposed | None = None
    approved: tuple[Decision, ...] = ()

    @property
    def shadow_failed(self) -> bool:
        """Whether the direct result was written without its proposals."""
        return self.mode == "dual_write" and self.proposed is None

    @property
    def similarity_is_due(self) -> bool:
        """Whether there are pending proposals without a similarity search yet."""
        return self.proposed is not None and self.proposed.pending > len(self.approved)

    @property
    def topic_ids(self) -> tuple[int, ...]:
        """The topics that this extraction created or matched."""
        return (*self.direct.topic_ids.values(), *self._approved("topic"))

    @property
    def atom_ids(self) -> tuple[int, ...]:
        """The atoms that this extraction created or matched."""
        return (*self.direct.atom_ids.values(), *self._approved("atom"))

    def _approved(self, kind: str) -> tuple[int, ...]:
        return tuple(one.entity_id for one in self.approved if one.kind.name == kind and one.entity_id is not None)


def confirmed(connection: sa.Connection, flags: Flags) -> Flags:
    """The flags at this moment, for the caller's transaction; the given ones where there is no table or nobody set any.

    Raises `sa.exc.ProgrammingError` (UndefinedTable) if the table of flags that were set is gone.
    """
    try:
        if flags.version:
            return present_flags(connection, flags)[0]
        with connection.begin_nested():
            return present_flags(connection, flags)[0]
    except sa.exc.ProgrammingError as error:
        if flags.version or sqlstate(error) != UNDEFINED_TABLE:
            raise
        return flags


def write_extraction(
    connection: sa.Connection,
    run_id: UUID | None,
    flags: Flags,
    origin: RunOrigin,
    extraction: Extraction,
    options: ServiceOptions,
    finder: DuplicateFinder,
) -> Written:
    """Writes an extraction in the mode that the flags say at this moment."""
    flags = confirmed(connection, flags)
    origin = replace(origin, mode=route(flags, origin.user_id, origin.message_ids), flag_version=flags.version)
    return write_in_mode(connection, run_id, flags, origin, extraction, options, finder)


def write_in_mode(
    connection: sa.Connection,
    run_id: UUID | None,
    flags: Flags,
    origin: RunOrigin,
    extraction: Extraction,
    options: ServiceOptions,
    finder: DuplicateFinder,
) -> Written:
    """Writes an extraction in the mode of its origin."""
    if origin.mode == "proposal":
        run_id = run_id or open_run(connection, origin)
        proposed = write_proposals(connection, run_id, origin, extraction)
        approved = approve_eligible_of_run(connection, run_id, flags, finder)
        return Written(run_id, "proposal", proposed=proposed, approved=tuple(approved))
    if origin.mode == "dual_write":
        uncaptured(connection)
    direct = write_direct(connection, extraction, options.direct_threshold)
    shadow = None
    if origin.mode == "dual_write":
        shadow = _shadow(connection, run_id, origin, extraction, direct, options)
    if run_id and not shadow:
        counts = direct.counts if origin.mode == "direct" else {**direct.counts, "shadow_failed": 1}
        quietly(connection, partial(complete_run, connection, run_id, origin, counts), f"Recording run {run_id}")
    return Written(shadow.run_id if shadow else run_id, origin.mode, direct, shadow)


def _shadow(
    connection: sa.Connection,
    run_id: UUID | None,
    origin: RunOrigin,
    extraction: Extraction,
    direct: DirectResult,
    options: ServiceOptions,
) -> Proposed | None:
    return in_shadow(
        connection,
        lambda: write_proposals(connection, run_id or open_run(connection, origin), origin, extraction, direct),
        lambda: _shadow_content(origin, extraction, direct),
        run_id=run_id,
        timeout_ms=options.shadow_timeout_ms,
        process=origin.process,
    )


def _shadow_content(origin: RunOrigin, extraction: Extraction, direct: DirectResult) -> dict[str, Any]:
    """The input of `repair_next`."""
    return {
        "message_ids": list(origin.message_ids),
        "user_id": origin.user_id,
        "flag_version": origin.flag_version,
        "extractor": origin.extractor,
        "extraction": extraction.model_dump(mode="json"),
        "topic_ids": dict(direct.topic_ids),
        "created_topics": [list(pair) for pair in direct.created_topics.items()],
        "atom_ids": [list(pair) for pair in direct.atom_ids.items()],
    }
