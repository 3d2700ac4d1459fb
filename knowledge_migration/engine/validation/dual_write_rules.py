"""What must hold while dual write is on (strategy §4.2): rules over what was written since the fence was proven."""

from psycopg import sql

from knowledge_migration.engine.dual_write.fence import proven_fence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome, count_and_sample
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.entity_kinds import KINDS

REPAIR = "knowledge-migration dual-write repair makes the proposals of failed shadows; look at their reasons first."


DESCRIPTIONS: dict[str, str] = {
    **{
        f"every_new_{kind.name}_has_a_proposal": (
            f"Every row of {kind.table} created since dual write was proven has its proposal."
        )
        for kind in KINDS
    },
    "extractions_have_their_proposals": (
        "Every extraction since dual write was proven has as many proposals as it recorded."
    ),
    "no_shadow_failed": "No direct write is without its proposals because they could not be written.",
    **{rule.name: rule.description for rule in rules.RULES if rule.compares_values},
}
"""Every rule of this phase, in words."""


def outcomes(database: Database, connection: Connection, *, sample: int) -> list[CheckOutcome]:
    """Every rule; raises `PreconditionError` when the fence does not stand, so that there is nothing to look at."""
    since: dict[str, object] = {"since": proven_fence(database).proven_at}
    found = [
        _outcome(
            connection,
            f"every_new_{kind.name}_has_a_proposal",
            statement("checks/entities_since_have_proposals", table=f"public.{kind.table}", label=kind.label),
            since,
            f"A writer works without dual write, or a shadow failed. {REPAIR}",
            sample,
        )
        for kind in KINDS
    ]
    found.append(
        _outcome(
            connection,
            "extractions_have_their_proposals",
            sql.SQL(text_of("checks/dual_write_runs_have_their_proposals")),
            since,
            "Somebody deleted proposals; the runs named here say whose.",
            sample,
        )
    )
    found.append(
        _outcome(
            connection,
            "no_shadow_failed",
            sql.SQL(text_of("checks/shadows_that_failed")),
            {},
            REPAIR,
            sample,
        )
    )
    values = [rule for rule in rules.RULES if rule.compares_values]
    return found + [rules.evaluate(connection, rule, sample=sample) for rule in values]


def _outcome(
    connection: Connection,
    name: str,
    query: sql.Composable,
    parameters: dict[str, object],
    remedy: str,
    sample: int,
) -> CheckOutcome:
    count, rows = count_and_sample(connection, query, parameters, sample)
    return CheckOutcome(name, count, rows, DESCRIPTIONS[name], remedy)
