"""The integrity rules (strategy §5.3, §9.1, §11.1): each a file of `sql/checks/` that returns the rows that break it.

No row means that the rule holds. A rule that cannot be asked (a table is missing, a right is missing) raises: it is an
error, never a pass and never bad data.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from psycopg import sql

from knowledge_migration.engine.backfill.runner import PartitionResult
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome, count_and_sample
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.validation import value_comparison
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind

Severity = Literal["error", "warn"]


@dataclass(frozen=True)
class Rule:
    """One rule: its name, the file that finds what breaks it, and what to do then. `warn` never blocks."""

    name: str
    file: str
    description: str
    remedy: str
    kind: EntityKind | None = None
    severity: Severity = "error"
    compares_values: bool = False

    @property
    def query(self) -> sql.Composed:
        """The rule's statement."""
        names = value_comparison.names(self.kind) if self.kind else {}
        return statement(f"checks/{self.file}", **names)


@dataclass(frozen=True)
class _Wording:
    file: str
    name: str
    description: str
    remedy: str
    compares_values: bool = False


_AGAIN = "Complete the backfill again (asset backfill_completion): it links what is left."

_PER_ENTITY: tuple[_Wording, ...] = (
    _Wording(
        "every_entity_has_a_proposal",
        "every_{one}_has_a_proposal",
        "Every row of {table} has its origin proposal, or its quarantine is accepted.",
        _AGAIN + " If rows keep appearing, a writer works without dual write.",
    ),
    _Wording(
        "links_name_existing_proposals",
        "{one}_links_name_existing_proposals",
        "Every link of {table} names a proposal that exists.",
        "Clear those links (set both columns to NULL) and complete the backfill again.",
    ),
    _Wording(
        "backfilled_links_are_their_own",
        "backfilled_{one}_links_are_their_own",
        "A row of {table} that was backfilled has the proposal that was made of it, not that of another row.",
        "Somebody exchanged links. Clear those (set both columns to NULL) and complete the backfill again.",
    ),
    _Wording(
        "links_are_dated",
        "{one}_links_are_dated",
        "Link and migration time of {table} are set together or not at all.",
        "Somebody wrote one of the two columns by hand; roll the backfill back and run it again.",
    ),
    _Wording(
        "a_proposal_has_one_entity",
        "{one}_proposals_serve_one_row",
        "No proposal is the origin of two rows of {table}.",
        "The unique index is missing: run the schema phase again, then look at the rows named here.",
    ),
    _Wording(
        "no_approved_proposal_is_orphaned",
        "no_approved_{one}_proposal_is_orphaned",
        "Every approved proposal of {proposals} has its row, unless it matched one or the row was deleted since.",
        _AGAIN,
    ),
    _Wording(
        "every_proposal_has_a_run",
        "every_{one}_proposal_has_a_run",
        "Every proposal of {proposals} belongs to an extraction run that exists.",
        "The foreign key of the runs is gone and so are runs: bring both back from the backup before going on.",
    ),
    _Wording(
        "backfilled_proposals_are_approved",
        "backfilled_{one}_proposals_are_approved",
        "Every backfilled proposal of {proposals} is approved, and not before it was made.",
        "Somebody changed them; roll the backfill back and run it again.",
    ),
    _Wording(
        "no_pending_proposal_is_stranded",
        "no_pending_{one}_proposal_is_stranded",
        "While proposals are off, no proposal of {proposals} that was made in proposal mode waits for them.",
        "`knowledge-migration rollback instant` again: it replays or parks what is stranded.",
    ),
    _Wording(
        "proposal_values_equal_the_entity",
        "{one}_proposal_values_equal_the_entity",
        "Proposal and row of {table} have equal values, NULL for NULL, unless the row was written to since.",
        "Do not promote. Roll the backfill back, run it again, and report the columns named: a copy was wrong.",
        compares_values=True,
    ),
)


def _of(kind: EntityKind, wording: _Wording) -> Rule:
    words = {"one": kind.name, "table": kind.table, "proposals": kind.proposal_table}
    return Rule(
        name=wording.name.format(**words),
        file=wording.file,
        description=wording.description.format(**words),
        remedy=wording.remedy,
        kind=kind,
        compares_values=wording.compares_values,
    )


RULES: tuple[Rule, ...] = (
    *(_of(kind, wording) for wording in _PER_ENTITY for kind in KINDS),
    Rule(
        "proposed_topics_match_relations",
        "proposed_topics_match_relations",
        "A backfilled atom proposal names the topics that its atom had.",
        "A user may have removed a relation since; otherwise roll the backfill back and run it again.",
        severity="warn",
    ),
    Rule(
        "quarantine_is_decided",
        "quarantine_is_decided",
        "Nobody has to decide about a quarantined row any more.",
        "`knowledge-migration quarantine list` shows them; retry, clamp or accept each, then complete the backfill.",
    ),
    Rule(
        "relations_point_at_existing_rows",
        "relations_point_at_existing_rows",
        "Every relation between topics, atoms and messages points at rows that exist.",
        "Repair or delete the relations named here in the application; the migration never changes them.",
    ),
    Rule(
        "migration_run_is_completed",
        "migration_run_is_completed",
        "The migration's extraction run is completed.",
        _AGAIN,
    ),
)


def evaluate(
    connection: Connection, rule: Rule, *, sample: int = 20, clock: Callable[[], float] = time.perf_counter
) -> CheckOutcome:
    """Counts what breaks the rule and shows up to `sample` of it, from one query.

    Raises `VerificationError` when a value comparison cannot see: nothing is left to judge, or a restore has lost the
    marks by which a wrong copy is told from a later edit, and there are differences.
    """
    started = clock()
    parameters = _parameters(connection, rule)
    numbers = value_comparison.extent(connection, rule.kind, parameters) if rule.compares_values and rule.kind else {}
    count, rows = count_and_sample(connection, rule.query, parameters, sample)
    _refuse_what_cannot_be_told(rule, parameters, count, rows)
    numbers["seconds"] = round(clock() - started, 3)
    return CheckOutcome(rule.name, count, rows, rule.description, rule.remedy, numbers)


def evaluate_range(connection: Connection, rule: Rule, *, after_id: int, through_id: int, sample: int) -> CheckOutcome:
    """A rule about rows, asked of one id range only: above `after_id`, up to and including `through_id`."""
    in_range = statement("validation/in_range", rule=rule.query)
    parameters = {**_parameters(connection, rule), "after": after_id, "through": through_id}
    count, rows = count_and_sample(connection, in_range, parameters, sample)
    _refuse_what_cannot_be_told(rule, parameters, count, rows)
    description = f"In ids {after_id + 1} to {through_id}: {rule.description}"
    return CheckOutcome("partition_values_are_equal", count, rows, description, rule.remedy)


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
    values = next(rule for rule in RULES if rule.compares_values and rule.kind and rule.kind.name == partition.entity)
    return unlinked, evaluate_range(
        connection, values, after_id=partition.after_id, through_id=partition.through_id, sample=sample
    )


def _parameters(connection: Connection, rule: Rule) -> dict[str, object]:
    if not rule.kind:
        return {}
    return value_comparison.parameters(connection, rule.kind) if rule.compares_values else {"entity": rule.kind.name}


def _refuse_what_cannot_be_told(
    rule: Rule, parameters: dict[str, object], count: int, rows: tuple[dict[str, object], ...]
) -> None:
    if rule.compares_values and rule.kind:
        value_comparison.refuse_what_cannot_be_told(rule.kind, parameters, count, [row["id"] for row in rows])
