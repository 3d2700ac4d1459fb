"""The suites of the project: one a table, built from the declaration of the tables and the values the strategy names.

Legacy tables: critical is what a constraint of the application promises (keys, references, types). What the data quality
report accepts or the quarantine decides on is a warning, and what needs nobody is info: real data is untidy, and the
migration carries it over as it is. Tables of the workflow: everything that the schema or the service promises is critical;
what they copy from an untidy row is a warning.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from knowledge_migration.knowledge import tables
from knowledge_migration.quality import rules
from knowledge_migration.quality.model import Expectation, Suite

PHASE_1_COLUMN = "migrated_from_proposal_id"
HEX_COLOUR = "^#[0-9A-F]{6}$"
CORRECT = "correct the value in the application"

Columns = Mapping[str, Set[str]]


@dataclass(frozen=True)
class Blueprint:
    """How the suite of a table is made from the columns that the tables have now."""

    name: str
    table: str
    build: Callable[[Columns], tuple[Expectation, ...]]

    def suite(self, columns: Columns) -> Suite:
        """The suite."""
        return Suite(self.name, self.table, self.build(columns))


def _topics(columns: Columns) -> tuple[Expectation, ...]:
    return (
        *rules.of_columns(tables.topics, legacy=True),
        rules.unique("id"),
        rules.unique("name"),
        rules.not_empty("name", "id", "warning", CORRECT),
        rules.no_rows(
            "topic_names_that_differ_in_case_or_blanks_only",
            "no two names differ in case or blanks only",
            "warning",
            "merge these topics in the application",
        ),
        rules.matches("color", HEX_COLOUR, "color is an upper-case #RRGGBB", "warning", CORRECT),
        *_linked(columns, "topics", "topic_proposals"),
    )


def _atoms(columns: Columns) -> tuple[Expectation, ...]:
    return (
        *rules.of_columns(tables.atoms, legacy=True, skip=("embedding",)),
        rules.unique("id"),
        rules.one_of("type", tables.ATOM_TYPES, "warning", f"{CORRECT}, or teach it the type"),
        rules.between("confidence", 0, 1, "warning", f"{CORRECT}; the quarantine names the same atoms"),
        rules.not_empty("title", "id", "warning", CORRECT),
        rules.not_empty("content", "id", "warning", "none needed; delete atoms that say nothing"),
        rules.no_rows(
            "atoms_without_a_topic",
            "each atom belongs to a topic (strategy §9.1, check 5)",
            "info",
            "none needed; assign a topic where one is missed",
        ),
        *_linked(columns, "atoms", "atom_proposals"),
    )


def _linked(columns: Columns, table: str, proposals: str) -> tuple[Expectation, ...]:
    """What phase 1 adds to a legacy table; nothing before it."""
    if PHASE_1_COLUMN not in columns.get(table, ()):
        return ()
    return (
        *(rules.has_type(column, legacy=False) for column in tables.LINK_COLUMNS[table]),
        rules.unique(PHASE_1_COLUMN),
        rules.refers(PHASE_1_COLUMN, proposals, ("id", PHASE_1_COLUMN)),
    )


def _topic_atoms(_: Columns) -> tuple[Expectation, ...]:
    shown = ("topic_id", "atom_id")
    return (
        *rules.of_columns(tables.topic_atoms, legacy=True),
        rules.unique_together(*shown),
        rules.refers("topic_id", "topics", shown),
        rules.refers("atom_id", "atoms", shown),
        rules.between("position", 0, None, "warning", CORRECT),
    )


def _atom_links(_: Columns) -> tuple[Expectation, ...]:
    shown = ("from_atom_id", "to_atom_id")
    return (
        *rules.of_columns(tables.atom_links, legacy=True),
        rules.unique_together(*shown),
        rules.refers("from_atom_id", "atoms", shown),
        rules.refers("to_atom_id", "atoms", shown),
        rules.one_of("link_type", tables.LINK_TYPES, "warning", f"{CORRECT}, or teach it the type"),
        rules.between("strength", 0, 1, "warning", CORRECT),
        rules.no_rows(
            "atoms_linked_to_themselves", "no atom is linked to itself", "warning", "none needed; delete such links"
        ),
    )


def _topic_proposals(_: Columns) -> tuple[Expectation, ...]:
    return (
        *rules.of_columns(tables.topic_proposals, legacy=False),
        *_proposals("similar_topic_id", "topics"),
        rules.matches("color", HEX_COLOUR, "color is an upper-case #RRGGBB", "warning", f"{CORRECT}, on its topic"),
    )


def _atom_proposals(_: Columns) -> tuple[Expectation, ...]:
    return (
        *rules.of_columns(tables.atom_proposals, legacy=False),
        *_proposals("similar_atom_id", "atoms"),
        rules.one_of("type", tables.ATOM_TYPES, "warning", f"{CORRECT}, on its atom"),
        rules.no_rows(
            "proposed_topics_that_are_no_list",
            "proposed_topic_ids is a list of topics (numbers) and topic proposals (strings)",
            "critical",
            "find out what wrote these proposals; an approval cannot read them",
        ),
    )


def _proposals(similar: str, entities: str) -> tuple[Expectation, ...]:
    """What is the same for both kinds of proposals."""
    return (
        rules.unique("id"),
        rules.one_of("status", tables.PROPOSAL_STATUSES, "critical"),
        rules.one_of("review_action", tables.REVIEW_ACTIONS, "critical"),
        rules.one_of("similarity_type", tables.SIMILARITY_TYPES, "critical"),
        rules.between("confidence", 0, 1, "critical"),
        rules.between("similarity_score", 0, 1, "critical"),
        rules.refers("extraction_run_id", "knowledge_extraction_runs", ("id", "extraction_run_id")),
        rules.refers(similar, entities, ("id", similar)),
        rules.refers("reviewed_by_user_id", "users", ("id", "reviewed_by_user_id")),
        rules.no_rows(
            "pending_proposals_without_a_confidence",
            "a proposal that waits for a review states its confidence",
            "critical",
            rules.RESTORE_ROWS,
        ),
        rules.no_rows(
            "half_stated_similarities",
            "a similarity states both its score and its type",
            "warning",
            "let the search for duplicates run again on these proposals",
        ),
        rules.no_rows(
            "decisions_that_do_not_say_when_or_how",
            "a decided proposal says when and how it was decided",
            "critical",
            "find out what decided these proposals around the service; the audit log has its own decisions",
        ),
    )


def _extraction_runs(_: Columns) -> tuple[Expectation, ...]:
    return (
        *rules.of_columns(tables.knowledge_extraction_runs, legacy=False),
        rules.unique("id"),
        rules.one_of("status", tables.RUN_STATUSES, "critical"),
        rules.between("message_count", 0, None, "critical"),
        rules.between("time_span_seconds", 0, None, "critical"),
        rules.not_before("completed_at", "started_at", "warning", "do not measure durations on these runs"),
        rules.refers("created_by_user_id", "users", ("id", "created_by_user_id")),
        rules.no_rows(
            "ended_runs_without_an_end",
            "a run has an end exactly when it is over",
            "critical",
            "find out what wrote these runs around the service",
        ),
        rules.no_rows(
            "failed_runs_without_an_error", "a failed run says why", "warning", "look at the log of the service then"
        ),
        rules.no_rows(
            "runs_with_another_message_count",
            "message_count is the length of message_ids",
            "critical",
            "find out what wrote these runs around the service",
        ),
    )


BLUEPRINTS: tuple[Blueprint, ...] = (
    Blueprint("topics", "topics", _topics),
    Blueprint("atoms", "atoms", _atoms),
    Blueprint("topic_atoms", "topic_atoms", _topic_atoms),
    Blueprint("atom_links", "atom_links", _atom_links),
    Blueprint("topic_proposals", "topic_proposals", _topic_proposals),
    Blueprint("atom_proposals", "atom_proposals", _atom_proposals),
    Blueprint("extraction_runs", "knowledge_extraction_runs", _extraction_runs),
)
