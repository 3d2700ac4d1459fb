"""What criteria are judged by: rules asked now, evidence, the gates' last verdicts, the checks that Dagster has on record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from knowledge_migration.engine.cutover.evaluation import LastVerdict, last_verdicts
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.check_record import CheckRecord
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.validation import rules
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration.settings import Settings


@dataclass
class Facts:
    """One look at everything; what was asked once is not asked again. It has state, so it is a class."""

    database: Database
    connection: Connection
    settings: Settings
    checks: Mapping[str, CheckRecord] = field(default_factory=dict)
    service: ServiceAddress | None = None
    _outcomes: dict[str, CheckOutcome] = field(default_factory=dict)

    def evidence(self, kind: str, made_by: str) -> evidence.Evidence:
        """The newest of its kind; raises `PreconditionError` naming what makes it."""
        return evidence.require(self.connection, kind, made_by=made_by)

    def rule(self, name: str) -> CheckOutcome:
        """An integrity rule, asked now."""
        if name not in self._outcomes:
            rule = next(one for one in rules.RULES if one.name == name)
            self._outcomes[name] = rules.evaluate(self.connection, rule)
        return self._outcomes[name]

    def check(self, name: str) -> CheckRecord:
        """The latest evaluation of an asset check; raises `PreconditionError` when it never ran to its end."""
        found = self.checks.get(name)
        if found is None or found.at is None:
            raise PreconditionError(f"The check {name} has not been run yet, as far as this Dagster instance knows.")
        if not found.ended:
            raise PreconditionError(f"The check {name} was not run to its end the last time.")
        if found.warns and not found.succeeded:
            raise PreconditionError(f"The check {name} could not show it: {found.message}")
        return found

    def gate(self, metric: str) -> LastVerdict:
        """The last verdict of a gate; raises `PreconditionError` when it was never judged."""
        found = last_verdicts(self.connection, [metric])
        if not found:
            raise PreconditionError(f"The gate {metric} has not been judged yet: materialize cutover_gates.")
        return found[0]

    def one(self, name: str, **parameters: object) -> dict[str, Any]:
        """The one row of a statement of `sql/criteria/`."""
        row = self.connection.execute(text_of(f"validation/criteria_{name}"), parameters).fetchone()
        assert row is not None  # aggregates
        return row
