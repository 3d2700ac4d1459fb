"""The actions of an admin on the migration page; each checks the session again."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.backfill.control import Control, set_control
from knowledge_migration.engine.cutover.pause import set_pause
from knowledge_migration.engine.cutover.readiness import Readiness, readiness
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, UnreachableError
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.status.audit_trail import Page, read_page
from knowledge_migration.engine.status.snapshot import SESSION
from knowledge_migration.engine.validation.integrity import recorded_integrity
from knowledge_migration.knowledge.api.access import ForbiddenError
from knowledge_migration.knowledge.errors import ConflictError, InvalidError, KnowledgeError, UnavailableError
from knowledge_migration.knowledge.flag_rollback import FlagRollbackPlan, FlagRollbackResult, plan_flag_rollback
from knowledge_migration.knowledge.flags import FlagsError, StaleFlagsError
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.stages import RollbackKind
from knowledge_migration.knowledge.values import LONGEST_REASON, storable
from knowledge_migration.pages.migration.feed import MigrationSource
from knowledge_migration.pages.session import Session
from knowledge_migration.thresholds import Stage

Result = TypeVar("Result")


@dataclass(frozen=True)
class Actions:
    """The actions of one session; `done` is called after each change, also a failed one. All raise `KnowledgeError`."""

    service: KnowledgeService
    source: MigrationSource
    session: Session
    done: Callable[[], None]

    @property
    def are_offered(self) -> bool:
        """Whether the page shows the actions."""
        return self.session.is_admin

    async def control_backfill(
        self,
        *,
        paused: bool | None = None,
        batch_size: float | None = None,
        rate: float | None = None,
        reason: str = "",
    ) -> Control:
        """Pauses or resumes, or sets rows per batch and batches per second; None changes nothing."""
        self._require_admin()
        checked = checked_reason(reason) if reason.strip() else None
        rows = None if batch_size is None else _whole(batch_size)

        def change() -> Control:
            with self.source.bounded.connect("backfill control") as connection:
                return set_control(
                    connection,
                    paused=paused,
                    batch_size=rows,
                    rate_limit_per_second=rate,
                    actor=self.session.actor,
                    reason=checked,
                )

        try:
            return await _translated(asyncio.to_thread(change))
        finally:
            self.done()

    async def older_entries(self, older_than: int, *, with_decisions: bool) -> Page:
        """The page of the audit log before an entry; reviewers may read it too."""
        self.session.refuse_ended()

        def read() -> Page:
            with self.source.bounded.connect("audit trail", settings=SESSION) as connection:
                return read_page(connection, older_than, with_decisions=with_decisions)

        return await _translated(asyncio.to_thread(read))

    async def plan(self, kind: RollbackKind) -> FlagRollbackPlan:
        """The flags that a rollback would change, the processes it reaches, the proposals it strands. Reads only."""
        self._require_admin()
        options = self.service.options
        work = self.service.in_transaction(
            plan_flag_rollback,
            kind,
            options.initial_flags,
            live_seconds=self.source.settings.fence.live_seconds,
            threshold=options.direct_threshold,
        )
        return await _translated(work)

    async def roll_back_flags(self, kind: RollbackKind, *, reason: str, expected_version: int) -> FlagRollbackResult:
        """Rolls back by flags, if they still have the version that was shown."""
        self._require_admin()
        work = self.service.roll_back_flags(
            kind, actor=self.session.actor, reason=checked_reason(reason), expected_version=expected_version
        )
        try:
            return await _translated(work)
        finally:
            self.done()

    async def requirements(self, stage: Stage) -> Readiness:
        """What the promotion to a stage needs now; records the verdicts of the gates, as every evaluation does."""
        self._require_admin()
        database = self.source.bounded

        def read() -> Readiness:
            integrity = recorded_integrity(database)
            return readiness(database, self.source.settings, stage, integrity, now=database.now())

        return await _translated(asyncio.to_thread(read))

    async def promote(self, stage: Stage, reason: str) -> None:
        """Launches the job of phase 4 and waits for its end; the job checks every requirement again."""
        self._require_admin()
        launch, why = self.source.promote, checked_reason(reason)
        if launch is None:
            raise InvalidError("This service cannot launch a promotion. Use knowledge-migration cutover promote.")
        try:
            failure = await asyncio.to_thread(launch, stage, self.session.actor, why)
        finally:
            self.done()
        if failure:
            raise InvalidError(failure)

    async def pause_rollout(self, *, paused: bool, reason: str) -> None:
        """Pauses the rollout, or resumes it."""
        self._require_admin()
        why = checked_reason(reason)

        def change() -> None:
            with self.source.bounded.connect("rollout pause") as connection:
                set_pause(connection, paused=paused, reason=why, actor=self.session.actor)

        try:
            await _translated(asyncio.to_thread(change))
        finally:
            self.done()

    def _require_admin(self) -> None:
        self.session.refuse_ended()
        if not self.session.is_admin:
            raise ForbiddenError("Only an admin may control the migration; you are signed in as a reviewer.")


def checked_reason(typed: str) -> str:
    """The reason as it is recorded; raises `InvalidError` where it is empty, too long, or cannot be stored."""
    reason = typed.strip()
    if not reason:
        raise InvalidError("Give a reason; it is recorded in the audit log. Nothing was changed.")
    if len(reason) > LONGEST_REASON:
        raise InvalidError(
            f"The reason has {len(reason):,} characters; the limit is {LONGEST_REASON:,}. Nothing was changed."
        )
    try:
        return storable(reason)
    except ValueError as error:
        raise InvalidError("The reason holds a character that cannot be stored. Nothing was changed.") from error


def _whole(number: float) -> int:
    if not math.isfinite(number) or number != int(number):
        raise InvalidError(f"A batch has a whole number of rows, not {number:g}. Nothing was changed.")
    return int(number)


async def _translated(work: Awaitable[Result]) -> Result:
    """Raises a `KnowledgeError` for every error that a person can act on."""
    try:
        return await work
    except KnowledgeError:
        raise
    except StaleFlagsError as error:
        raise ConflictError(str(error)) from error
    except UnreachableError as error:
        raise UnavailableError(f"{error} Nothing was changed.") from error
    except (FlagsError, MigrationError) as error:
        raise InvalidError(str(error)) from error
    except (psycopg.Error, sa.exc.DBAPIError) as error:
        raise _of_database(error.orig if isinstance(error, sa.exc.DBAPIError) else error) from error


def _of_database(cause: BaseException | None) -> KnowledgeError:
    if isinstance(cause, NOT_SO_FAR):
        return UnavailableError("This database has no proposal schema: phase 1 of the migration has not been run here.")
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        message = str(cause).strip().partition("\n")[0]
        return ForbiddenError(f"The database refuses this to the role of the service: {message}.")
    return UnavailableError("The database did not answer. Check whether the action was done, then try again.")
