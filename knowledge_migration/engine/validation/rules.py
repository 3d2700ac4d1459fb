"""The integrity rules (strategy §4.2, §5.3, §9.1, §11.1): each is a file of `sql/checks/` that returns the violating rows.

A rule that cannot be evaluated (a missing table or privilege) raises: it is an error, never a pass and never bad data.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from psycopg import sql

from knowledge_migration.engine.backfill.runner import PartitionResult
from knowledge_migration.engine.dual_write.fence import proven_fence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome, count_and_sample
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.validation import values
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

Severity = Literal["error", "warn"]


@dataclass(frozen=True)
class Rule:
    """One rule: its name, its file, and the remedy. `warn` never blocks."""

    name: str
    file: str
    description: str
    remedy: str
    kind: EntityKind | None = None
    severity: Severity = "error"
    compares_values: bool = False

    @property
    def query(self) -> sql.Composed:
        """The query that returns the violating rows."""
        return statement(f"checks/{self.file}", **(values.names(self.kind) if self.kind else {}))


def _of_each_kind(*rules: Rule) -> tuple[Rule, ...]:
    """Each rule for topics and for atoms; `{one}`, `{table}` and `{proposals}` are replaced."""

    def of(rule: Rule, kind: EntityKind) -> Rule:
        names = {"one": kind.name, "table": kind.table, "proposals": kind.proposal_table}
        return replace(rule, name=rule.name.format(**names), description=rule.description.format(**names), kind=kind)

    return tuple(of(rule, kind) for rule in rules for kind in KINDS)


_COMPLETE_AGAIN = "Complete the backfill again (asset backfill_completion): it links the remaining rows."
_BACK_AND_AGAIN = "Roll the backfill back and run it again."
_REPAIR = "`knowledge-migration dual-write repair` creates the proposals of failed shadows; read their reasons first."

RULES: tuple[Rule, ...] = (
    *_of_each_kind(
        Rule("every_{one}_has_a_proposal", "every_entity_has_a_proposal",
             "Every row of {table} has its origin proposal, or its quarantine is accepted.",
             f"{_COMPLETE_AGAIN} If rows keep appearing, a writer runs without dual write."),
        Rule("{one}_links_name_existing_proposals", "links_name_existing_proposals",
             "Every link of {table} names a proposal that exists.",
             "Clear those links (set both columns to NULL) and complete the backfill again."),
        Rule("backfilled_{one}_links_are_their_own", "backfilled_links_are_their_own",
             "A backfilled row of {table} links to its own proposal, not to that of another row.",
             "Somebody exchanged links. Clear them (set both columns to NULL) and complete the backfill again."),
        Rule("{one}_links_are_dated", "links_are_dated",
             "Link and migration time of {table} are either both set or both NULL.",
             f"Somebody wrote one of the two columns manually. {_BACK_AND_AGAIN}"),
        Rule("{one}_proposals_serve_one_row", "a_proposal_has_one_entity",
             "No proposal is the origin of two rows of {table}.",
             "The unique index is missing. Run the schema phase again, then correct the rows listed here."),
        Rule("no_approved_{one}_proposal_is_orphaned", "no_approved_proposal_is_orphaned",
             "Every approved proposal of {proposals} has its row, unless it matched one or the row was deleted since.",
             _COMPLETE_AGAIN),
        Rule("every_{one}_proposal_has_a_run", "every_proposal_has_a_run",
             "Every proposal of {proposals} belongs to an extraction run that exists.",
             "The foreign key and some runs are missing. Restore both from the backup before you continue."),
        Rule("backfilled_{one}_proposals_are_approved", "backfilled_proposals_are_approved",
             "Every backfilled proposal of {proposals} is approved, and not before it was created.",
             f"Somebody changed them. {_BACK_AND_AGAIN}"),
        Rule("no_pending_{one}_proposal_is_stranded", "no_pending_proposal_is_stranded",
             "While proposals are off, no proposal of {proposals} from proposal mode is pending.",
             "Run `knowledge-migration rollback instant` again: it replays or parks stranded proposals."),
        Rule("{one}_proposal_values_equal_the_entity", "proposal_values_equal_the_entity",
             "Proposal and row of {table} have equal values, NULL for NULL, unless the row was written since.",
             f"Do not promote. {_BACK_AND_AGAIN} Report the columns listed here: a copy was wrong.",
             compares_values=True),
    ),
    Rule("proposed_topics_match_relations", "proposed_topics_match_relations",
         "A backfilled atom proposal names the topics that its atom had.",
         f"A user may have removed a relation since. Otherwise: {_BACK_AND_AGAIN.lower()}",
         severity="warn"),
    Rule("quarantine_is_decided", "quarantine_is_decided",
         "No quarantined row needs a decision, and each acceptance is in the audit log.",
         "`knowledge-migration quarantine list` shows them; retry, clamp or accept each, then complete the backfill."),
    Rule("relations_point_at_existing_rows", "relations_point_at_existing_rows",
         "Every relation between topics, atoms and messages points at rows that exist.",
         "Repair or delete these relations in the application; the migration never changes them."),
    Rule("audit_log_is_unaltered", "audit_log_is_unaltered",
         "The entries of the audit log are those that were sealed.",
         "Somebody altered or removed entries, or their seals. Find out who, and compare the log with the backup; "
         "a promotion is possible with an override reason only."),
    Rule("migration_run_is_completed", "migration_run_is_completed",
         "The migration's extraction run is completed.",
         _COMPLETE_AGAIN),
)  # fmt: skip

DUAL_WRITE_RULES: tuple[Rule, ...] = (
    *_of_each_kind(
        Rule("every_new_{one}_has_a_proposal", "entities_since_have_proposals",
             "Every row of {table} created since dual write was proven has its proposal.",
             f"A writer runs without dual write, or a shadow failed. {_REPAIR}"),
    ),
    Rule("extractions_have_their_proposals", "dual_write_runs_have_their_proposals",
         "Every extraction since dual write was proven has as many proposals as it recorded.",
         "Somebody deleted proposals of the runs listed here."),
    Rule("no_shadow_failed", "shadows_that_failed",
         "Every direct write has its proposals; none failed.",
         _REPAIR),
    *(rule for rule in RULES if rule.compares_values),
)  # fmt: skip
"""Over the rows written since the fence was proven."""


def evaluate(
    connection: Connection,
    rule: Rule,
    *,
    sample: int = 20,
    clock: Callable[[], float] = time.perf_counter,
    **parameters: object,
) -> CheckOutcome:
    """Counts the violating rows and samples up to `sample` of them, from one query.

    Raises `VerificationError` when a value comparison is impossible: no row can be judged, or a restore has lost the row
    versions that distinguish a wrong copy from a later edit, and there are differences.
    """
    started = clock()
    parameters |= _parameters(connection, rule)
    numbers = values.extent(connection, rule.kind, parameters) if rule.compares_values and rule.kind else {}
    count, rows = count_and_sample(connection, rule.query, parameters, sample)
    _require_row_versions(rule, parameters, count, rows)
    numbers["seconds"] = round(clock() - started, 3)
    return CheckOutcome(rule.name, count, rows, rule.description, rule.remedy, numbers)


def evaluate_range(connection: Connection, rule: Rule, *, after_id: int, through_id: int, sample: int) -> CheckOutcome:
    """A rule about rows, evaluated on one id range: above `after_id`, through `through_id`."""
    in_range = statement("validation/in_range", rule=rule.query)
    parameters = {**_parameters(connection, rule), "after": after_id, "through": through_id}
    count, rows = count_and_sample(connection, in_range, parameters, sample)
    _require_row_versions(rule, parameters, count, rows)
    description = f"In ids {after_id + 1} to {through_id}: {rule.description}"
    return CheckOutcome("partition_values_are_equal", count, rows, description, rule.remedy)


def dual_write_outcomes(database: Database, connection: Connection, *, sample: int) -> list[CheckOutcome]:
    """Every rule of dual write; raises `PreconditionError` without a proven fence."""
    since = proven_fence(database).proven_at
    return [evaluate(connection, rule, sample=sample, since=since) for rule in DUAL_WRITE_RULES]


def partition_outcomes(
    connection: Connection, result: PartitionResult, *, sample: int
) -> tuple[CheckOutcome, CheckOutcome]:
    """Whether a partition is complete: no row in it is unlinked, and the values of its pairs are equal."""
    partition = result.partition
    unlinked = CheckOutcome(
        name="partition_is_fully_linked",
        count=result.remaining,
        sample=(asdict(partition),) if result.remaining else (),
        description=f"Every row of {partition.entity} partition {partition.key} has its proposal or is in quarantine.",
        remedy="Run the partition again: it processes the remaining rows.",
    )
    rule = next(rule for rule in RULES if rule.compares_values and rule.kind and rule.kind.name == partition.entity)
    return unlinked, evaluate_range(
        connection, rule, after_id=partition.after_id, through_id=partition.through_id, sample=sample
    )


def _parameters(connection: Connection, rule: Rule) -> dict[str, object]:
    if not rule.kind:
        return {}
    return values.parameters(connection, rule.kind) if rule.compares_values else {"entity": rule.kind.name}


def _require_row_versions(
    rule: Rule, parameters: dict[str, object], count: int, rows: tuple[dict[str, object], ...]
) -> None:
    if rule.compares_values and rule.kind:
        values.require_row_versions(rule.kind, parameters, count, [row["id"] for row in rows])
