"""Criteria and the facts that they are judged by: rules evaluated now, evidence, gate verdicts, and recorded checks.

A missing fact raises `PreconditionError`: the criterion then has no evidence yet, and is never met for lack of data.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from knowledge_migration.engine.cutover.evaluation import LastVerdict, last_verdicts
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema.phase import schema_outcome
from knowledge_migration.engine.validation import rules
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration.settings import Settings

Verdict = Literal["met", "not met", "no evidence yet", "for a person"]


@dataclass(frozen=True)
class Judgement:
    """A verdict, its message with figures, its source, and the time of the measurement (None: now)."""

    verdict: Verdict
    message: str
    source: str
    at: datetime | None = None

    @classmethod
    def of(cls, met: bool, message: str, source: str, at: datetime | None = None) -> "Judgement":
        """The judgement of a measurement."""
        return cls("met" if met else "not met", message, source, at)


@dataclass(frozen=True)
class Criterion:
    """One checkbox: `key` is its name in commands, `section` its section of the strategy, `text` its text there."""

    key: str
    section: str
    text: str
    judge: "Judge"


@dataclass(frozen=True)
class Judged:
    """A criterion with its judgement."""

    criterion: Criterion
    judgement: Judgement

    def as_row(self) -> dict[str, Any]:
        """For a table, a report and the evidence."""
        judgement = self.judgement
        return {
            "section": self.criterion.section,
            "criterion": self.criterion.text,
            "verdict": judgement.verdict,
            "evidence": judgement.message,
            "from": judgement.source,
            "measured": f"{judgement.at:%Y-%m-%d %H:%M} UTC" if judgement.at else "now",
            "name": self.criterion.key,
        }


@dataclass
class Facts:
    """Reads each fact once. It has state, so it is a class."""

    database: Database
    connection: Connection
    settings: Settings
    checks: Mapping[str, CheckRecord] = field(default_factory=dict)
    service: ServiceAddress | None = None
    _outcomes: dict[str, CheckOutcome] = field(default_factory=dict)

    def evidence(self, kind: str) -> evidence.Evidence:
        """The latest evidence of a kind, which is recorded by the asset of that name."""
        return evidence.require(self.connection, kind, made_by=f"asset {kind}")

    def rule(self, name: str) -> CheckOutcome:
        """An integrity rule, evaluated now."""
        if name not in self._outcomes:
            rule = next(one for one in rules.RULES if one.name == name)
            self._outcomes[name] = rules.evaluate(self.connection, rule)
        return self._outcomes[name]

    def schema(self) -> CheckOutcome:
        """The schema against its declaration, compared now."""
        if "schema" not in self._outcomes:
            self._outcomes["schema"] = schema_outcome(self.database, 20)
        return self._outcomes["schema"]

    def check(self, name: str) -> CheckRecord:
        """The latest evaluation of an asset check; a warning that did not pass is no evidence."""
        record = self.checks.get(name)
        if record is None or record.at is None:
            raise PreconditionError(f"The check {name} has not been evaluated on this database yet.")
        if record.warns and not record.succeeded:
            raise PreconditionError(f"The check {name} has no result: {record.message}")
        return record

    def gate(self, metric: str) -> LastVerdict:
        """The last verdict of a gate."""
        verdicts = last_verdicts(self.connection, [metric])
        if not verdicts:
            raise PreconditionError(f"The gate {metric} has no verdict yet: materialize cutover_gates.")
        return verdicts[0]

    def require_service(self) -> ServiceAddress:
        """The address of the service."""
        if self.service is None:
            raise PreconditionError("No live process of the service is known (knowledge-migration serve starts one).")
        return self.service

    def one(self, name: str, **parameters: object) -> dict[str, Any]:
        """The one row of the query `validation/criteria_<name>`."""
        row = self.connection.execute(text_of(f"validation/criteria_{name}"), parameters).fetchone()
        assert row is not None  # aggregates
        return row


Judge = Callable[[Facts], Judgement]
