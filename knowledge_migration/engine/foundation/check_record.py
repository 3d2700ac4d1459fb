"""The latest evaluation of each asset check on this database, as criteria, promotions, pages and reports read it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from knowledge_migration.engine.foundation.database import Connection, exists
from knowledge_migration.engine.foundation.sql_files import text_of

CheckResult = Literal["failed", "warned", "passed"]

CHECK_RESULTS: tuple[CheckResult, ...] = ("failed", "warned", "passed")
"""The most severe first."""


@dataclass(frozen=True)
class CheckRecord:
    """One check: `at` is None if it was never evaluated; `warns` is true where a failure is only a warning.

    `sample` is what violates it, a line per row; it is not recorded.
    """

    name: str
    succeeded: bool
    at: datetime | None
    message: str = ""
    warns: bool = False
    asset: str = ""
    sample: tuple[str, ...] = ()

    @property
    def result(self) -> CheckResult:
        """The result in one word."""
        return "passed" if self.succeeded else "warned" if self.warns else "failed"


def record(connection: Connection, evaluated: Iterable[CheckRecord], *, dagster_run_id: str | None) -> None:
    """Records evaluations of now, each in place of the one before; before phase 0 there is no place for them."""
    if not exists(connection, "migration.check_record"):
        return
    for one in evaluated:
        values = {**vars(one), "passed": one.succeeded, "dagster_run_id": dagster_run_id}
        connection.execute(text_of("foundation/check_record"), values)


def recorded(connection: Connection) -> tuple[CheckRecord, ...]:
    """The latest evaluation of every check; none before phase 0."""
    if not exists(connection, "migration.check_record"):
        return ()
    return tuple(
        CheckRecord(row["name"], row["passed"], row["at"], row["message"], row["warns"], row["asset"])
        for row in connection.execute(text_of("foundation/check_records"))
    )
