"""The suites of the project, one per table, and the user's suites (JSON files in the notation of Great Expectations).

In legacy tables only a violated constraint is critical; what the data quality report accepts or quarantines is a warning.
In tables of the workflow, everything that the schema or the service guarantees is critical.
"""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.knowledge import tables
from knowledge_migration.quality import expectations as expect
from knowledge_migration.quality.expectations import SEVERITIES, Expectation, Suite

PHASE_1_COLUMN = "migrated_from_proposal_id"
CORRECT = "Correct the value in the application"
FIND_WRITER = "Find the writer that bypassed the service."

Columns = Mapping[str, Set[str]]
Expectations = tuple[Expectation, ...]


@dataclass(frozen=True)
class Blueprint:
    """Builds the suite of a table for the columns that the tables have now."""

    name: str
    table: str
    build: Callable[[Columns], Expectations]

    def suite(self, columns: Columns) -> Suite:
        """The suite."""
        return Suite(self.name, self.table, self.build(columns))


def _topics(columns: Columns) -> Expectations:
    return (
        *expect.of_columns(tables.topics, legacy=True),
        expect.unique("id"),
        expect.unique("name"),
        expect.not_empty("name", f"{CORRECT}."),
        expect.no_finding(
            "topic_names_that_differ_in_case_or_blanks_only", "no two names differ in case or blanks only", "warning"
        ),
        expect.hex_colour(f"{CORRECT}."),
        *_linked(columns, "topics", "topic_proposals"),
    )


def _atoms(columns: Columns) -> Expectations:
    return (
        *expect.of_columns(tables.atoms, legacy=True, skip=("embedding",)),
        expect.unique("id"),
        expect.one_of("type", tables.ATOM_TYPES, "warning", f"{CORRECT}, or add the type to it."),
        expect.between("confidence", 0, 1, "warning", f"{CORRECT}; the quarantine lists the same atoms."),
        expect.not_empty("title", f"{CORRECT}."),
        expect.not_empty("content", "No action required; delete atoms without content."),
        expect.no_finding("atoms_without_a_topic", "each atom belongs to a topic (strategy §9.1, check 5)", "info"),
        *_linked(columns, "atoms", "atom_proposals"),
    )


def _linked(columns: Columns, table: str, proposals: str) -> Expectations:
    """The columns that phase 1 adds to a legacy table; nothing before phase 1."""
    if PHASE_1_COLUMN not in columns.get(table, ()):
        return ()
    return (
        *(expect.has_type(column, legacy=False) for column in tables.LINK_COLUMNS[table]),
        expect.unique(PHASE_1_COLUMN),
        expect.refers(PHASE_1_COLUMN, proposals, ("id", PHASE_1_COLUMN)),
    )


def _topic_atoms(_: Columns) -> Expectations:
    key = ("topic_id", "atom_id")
    return (
        *expect.of_columns(tables.topic_atoms, legacy=True),
        expect.unique(*key),
        expect.refers("topic_id", "topics", key),
        expect.refers("atom_id", "atoms", key),
        expect.between("position", 0, None, "warning", f"{CORRECT}."),
    )


def _atom_links(_: Columns) -> Expectations:
    key = ("from_atom_id", "to_atom_id")
    return (
        *expect.of_columns(tables.atom_links, legacy=True),
        expect.unique(*key),
        expect.refers("from_atom_id", "atoms", key),
        expect.refers("to_atom_id", "atoms", key),
        expect.one_of("link_type", tables.LINK_TYPES, "warning", f"{CORRECT}, or add the type to it."),
        expect.between("strength", 0, 1, "warning", f"{CORRECT}."),
        expect.no_finding("atoms_linked_to_themselves", "no atom is linked to itself", "warning"),
    )


def _topic_proposals(_: Columns) -> Expectations:
    return (
        *expect.of_columns(tables.topic_proposals, legacy=False),
        *_proposals("similar_topic_id", "topics"),
        expect.hex_colour(f"{CORRECT}, on its topic."),
    )


def _atom_proposals(_: Columns) -> Expectations:
    return (
        *expect.of_columns(tables.atom_proposals, legacy=False),
        *_proposals("similar_atom_id", "atoms"),
        expect.one_of("type", tables.ATOM_TYPES, "warning", f"{CORRECT}, on its atom."),
        expect.no_rows(
            "proposed_topics_that_are_no_list",
            "proposed_topic_ids is a list of topics (numbers) and topic proposals (strings)",
            "critical",
            f"{FIND_WRITER} An approval cannot read these proposals.",
        ),
    )


def _proposals(similar: str, entities: str) -> Expectations:
    """The expectations that both proposal tables share."""
    return (
        expect.unique("id"),
        expect.one_of("status", tables.PROPOSAL_STATUSES, "critical"),
        expect.one_of("review_action", tables.REVIEW_ACTIONS, "critical"),
        expect.one_of("similarity_type", tables.SIMILARITY_TYPES, "critical"),
        expect.between("confidence", 0, 1, "critical"),
        expect.between("similarity_score", 0, 1, "critical"),
        expect.refers("extraction_run_id", "knowledge_extraction_runs", ("id", "extraction_run_id")),
        expect.refers(similar, entities, ("id", similar)),
        expect.refers("reviewed_by_user_id", "users", ("id", "reviewed_by_user_id")),
        expect.no_rows(
            "pending_proposals_without_a_confidence",
            "a pending proposal states its confidence",
            "critical",
            expect.RESTORE_ROWS,
        ),
        expect.no_rows(
            "half_stated_similarities",
            "a similarity states both its score and its type",
            "warning",
            "Run the duplicate search on these proposals again.",
        ),
        expect.no_rows(
            "decisions_that_do_not_say_when_or_how",
            "a decided proposal states the time and the action of the decision",
            "critical",
            f"{FIND_WRITER} The audit log records the decisions of the service.",
        ),
    )


def _extraction_runs(_: Columns) -> Expectations:
    return (
        *expect.of_columns(tables.knowledge_extraction_runs, legacy=False),
        expect.unique("id"),
        expect.one_of("status", tables.RUN_STATUSES, "critical"),
        expect.between("message_count", 0, None, "critical"),
        expect.between("time_span_seconds", 0, None, "critical"),
        expect.not_before("completed_at", "started_at", "warning", "Do not measure durations of these runs."),
        expect.refers("created_by_user_id", "users", ("id", "created_by_user_id")),
        expect.no_rows(
            "ended_runs_without_an_end", "a run has an end exactly when it has ended", "critical", FIND_WRITER
        ),
        expect.no_rows(
            "failed_runs_without_an_error", "a failed run states its error", "warning", "Read the service's log."
        ),
        expect.no_rows(
            "runs_with_another_message_count", "message_count is the length of message_ids", "critical", FIND_WRITER
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


def read_suites(folder: Path | None) -> tuple[Suite, ...]:
    """The user's suites, `{"table": …, "expectations": [{"type": …, "kwargs": {…}, "severity": …}]}` per file.

    Fields that Great Expectations exports beside these are ignored. Raises `PreconditionError` naming a file that cannot be
    used, and the reason: a skipped suite would read as met.
    """
    if folder is None:
        return ()
    files = sorted(folder.expanduser().glob("*.json"))
    if not files:
        raise PreconditionError(
            f"KNOWLEDGE_MIGRATION_SUITES names {folder}, which holds no .json file. Put the suites there, or unset it."
        )
    return tuple(_read(file) for file in files)


def _read(file: Path) -> Suite:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise refused(file, f"it is no readable JSON ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("table"), str) or not content["table"].strip():
        raise refused(file, 'it is no object with a "table"')
    listed = content.get("expectations")
    if not isinstance(listed, list) or not listed:
        raise refused(file, 'it has no "expectations"')
    schema, _, table = content["table"].strip().rpartition(".")
    expectations = tuple(_expectation(file, number, one) for number, one in enumerate(listed, 1))
    return Suite(file.stem, table, expectations, schema=schema or "public", file=str(file))


def _expectation(file: Path, number: int, given: Any) -> Expectation:
    if not isinstance(given, dict) or not isinstance(given.get("type"), str):
        raise refused(file, f'its expectation {number} has no "type"')
    kwargs, severity = given.get("kwargs"), given.get("severity", "critical")
    if not isinstance(kwargs, dict):
        raise refused(file, f'its expectation {number} ({given["type"]}) has no "kwargs"')
    if severity not in SEVERITIES:
        raise refused(file, f"the severity of its expectation {number} is none of {', '.join(SEVERITIES)}")
    arguments = ", ".join(f"{name} {value}" for name, value in kwargs.items())
    rule = given.get("description") or f"{given['type'].replace('_', ' ')}: {arguments}"
    return Expectation(given["type"], kwargs, severity, str(rule), "See the file of the suite.")


def refused(file: Path | str | None, reason: str) -> PreconditionError:
    """The error for a suite that cannot be used."""
    return PreconditionError(f"The suite {file} cannot be used: {reason}. Correct the file, then validate again.")
