"""What an admin may do on the migration page; who asks and whether they still may is looked at for each deed anew."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.backfill.control import Control, set_control
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, UnreachableError
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.rollback.flags import RollbackPlan, plan_rollback
from knowledge_migration.engine.status.audit_trail import Page, page_of
from knowledge_migration.engine.status.reader import SESSION
from knowledge_migration.knowledge.api.access import ForbiddenError
from knowledge_migration.knowledge.errors import ConflictError, InvalidError, KnowledgeError, UnavailableError
from knowledge_migration.knowledge.flag_rollback import FlagRollbackResult
from knowledge_migration.knowledge.flags import FlagsError, StaleFlagsError
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration.knowledge.stages import FlagRollback
from knowledge_migration.knowledge.values import LONGEST_REASON, storable
from knowledge_migration.pages.migration.source import MigrationSource, patient
from knowledge_migration.pages.session import Session

Done = TypeVar("Done")


@dataclass(frozen=True)
class Actions:
    """The deeds of one session; `done` is called after each, also after one that failed. Every one raises a `KnowledgeError`."""

    service: KnowledgeService
    source: MigrationSource
    session: Session
    done: Callable[[], None]

    @property
    def are_offered(self) -> bool:
        """Whether the page shows them at all."""
        return self.session.is_admin

    async def control_backfill(
        self,
        *,
        paused: bool | None = None,
        batch_size: float | None = None,
        rate: float | None = None,
        reason: str = "",
    ) -> Control:
        """Pauses or resumes, or sets rows in a batch and batches per second; None stays as it is."""
        self._require_admin()
        why = checked_reason(reason) if reason.strip() else None
        rows = None if batch_size is None else _whole(batch_size)

        def change() -> Control:
            with patient(self.source.database).connect("backfill control") as connection:
                return set_control(
                    connection,
                    paused=paused,
                    batch_size=rows,
                    rate_limit_per_second=rate,
                    actor=self.session.actor,
                    reason=why,
                )

        try:
            return await _translated(asyncio.to_thread(change))
        finally:
            self.done()

    async def older_entries(self, older_than: int, *, with_decisions: bool) -> Page:
        """The page of the audit log before an entry; for everybody who has signed in."""
        self.session.refuse_ended()

        def read() -> Page:
            with patient(self.source.database).connect("audit trail", settings=SESSION) as connection:
                return page_of(connection, older_than, with_decisions=with_decisions)

        return await _translated(asyncio.to_thread(read))

    async def plan(self, way: FlagRollback) -> RollbackPlan:
        """What going back would change, whom it reaches, what it would strand. Reads only."""
        self._require_admin()
        options = self.service.options

        def read() -> RollbackPlan:
            return plan_rollback(
                patient(self.source.database),
                options.initial_flags,
                way,
                live_seconds=self.source.rules.live_seconds,
                threshold=options.direct_threshold,
            )

        return await _translated(asyncio.to_thread(read))

    async def roll_back_flags(self, way: FlagRollback, *, reason: str, expected_version: int) -> FlagRollbackResult:
        """Goes back by flags, if they are still of the version that was shown."""
        self._require_admin()
        why = checked_reason(reason)
        work = self.service.roll_back_flags(
            way, actor=self.session.actor, reason=why, expected_version=expected_version
        )
        try:
            return await _translated(work)
        finally:
            self.done()

    def _require_admin(self) -> None:
        self.session.refuse_ended()
        if not self.session.is_admin:
            raise ForbiddenError("Only an admin may change how the migration goes; you have signed in as a reviewer.")


def checked_reason(typed: str) -> str:
    """The reason as it is kept; raises `InvalidError` for none, a longer one, or one that cannot be stored."""
    reason = typed.strip()
    if not reason:
        raise InvalidError("Say why: the reason goes to the audit log. Nothing was changed.")
    if len(reason) > LONGEST_REASON:
        raise InvalidError(
            f"The reason has {len(reason):,} characters; the most is {LONGEST_REASON:,}. Nothing was changed."
        )
    try:
        return storable(reason)
    except ValueError as error:
        raise InvalidError("The reason holds a character that cannot be stored. Nothing was changed.") from error


def _whole(number: float) -> int:
    if not math.isfinite(number) or number != int(number):
        raise InvalidError(f"A batch has a whole number of rows, not {number:g}. Nothing was changed.")
    return int(number)


async def _translated(work: Awaitable[Done]) -> Done:
    """Every error that a person can do something about, in words and of one kind."""
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
        return UnavailableError("This database has not come so far: phase 1 of the migration has not been run here.")
    if isinstance(cause, psycopg.errors.InsufficientPrivilege):
        words = str(cause).strip().partition("\n")[0]
        return ForbiddenError(f"The database does not let the service do that: {words}.")
    return UnavailableError("The database did not answer. Look whether it was done, then try again.")
