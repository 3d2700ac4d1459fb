"""Data quality findings, declared once, and the report on them before any change (strategy §2.1).

Each finding is a query of `sql/data_quality.sql` with its effect on the backfill. The report counts exactly, with bounded
samples, in one REPEATABLE READ, READ ONLY transaction; it repairs nothing. The Great Expectations suites use the same findings.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql

from knowledge_migration.engine.foundation.check_outcome import count_and_sample
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.sql_files import statement, text_of
from knowledge_migration.engine.validation.near_duplicates import near_duplicates
from knowledge_migration.knowledge.entity_kinds import KINDS, EntityKind
from knowledge_migration.knowledge.tables import ATOM_TYPES, EMBEDDING_DIMENSIONS, LINK_TYPES

if TYPE_CHECKING:
    import pandas as pd

Effect = Literal["blocks", "quarantines", "accepted"]
"""`blocks`: the backfill must not start, because its result could not be verified. `quarantines`: the row gets no proposal
until the operator resolves it; all others continue. `accepted`: known, and copied as it is."""

Progress = Callable[[str], None]
Names = Mapping[str, str | sql.Composable]
PARAMETERS = {
    "atom_types": list(ATOM_TYPES),
    "link_types": list(LINK_TYPES),
    "embedding_dimensions": EMBEDDING_DIMENSIONS,
}


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of violation: its query selects the rows of `table` that show it. `names` are inserted into the query."""

    name: str
    table: str
    effect: Effect
    description: str
    remedy: str
    query_name: str = ""
    names: Names = field(default_factory=dict)

    def query(self, rows: sql.Composable | None = None) -> sql.Composed:
        """The query over these rows (a subquery in parentheses); by default over the whole table."""
        return statement(
            f"data_quality/{self.query_name or self.name}", rows=rows or f"public.{self.table}", **self.names
        )


def _missing(kind: EntityKind) -> Names:
    columns = [name for name in kind.values if not kind.proposals.c[name].nullable]
    return _cases(kind, [(sql.SQL("{} IS NULL").format(sql.Identifier(name)), sql.Literal(name)) for name in columns])


def _wide(kind: EntityKind) -> Names:
    return _cases(
        kind,
        [
            (
                sql.SQL("char_length({}) > {}").format(sql.Identifier(name), sql.Literal(width)),
                sql.SQL("{} || char_length({})").format(sql.Literal(f"{name}: "), sql.Identifier(name)),
            )
            for name, width in kind.widths.items()
        ],
    )


def _cases(kind: EntityKind, cases: Sequence[tuple[sql.Composable, sql.Composable]]) -> Names:
    """Pairs of a condition and the text that it yields, as names of a query."""
    return {
        "label": kind.label,
        "condition": sql.SQL(" OR ").join(condition for condition, _ in cases),
        "shown": sql.SQL(", ").join(sql.SQL("CASE WHEN {} THEN {} END").format(*case) for case in cases),
    }


def _of_both(
    name: str,
    effect: Effect,
    description: str,
    remedy: str,
    query_name: str,
    names: Callable[[EntityKind], Names] = lambda _: {},
) -> tuple[Finding, ...]:
    """The finding of topics and that of atoms, over one query."""
    return tuple(
        Finding(f"{kind.table}_{name}", kind.table, effect, description, remedy, query_name, names(kind))
        for kind in KINDS
    )


_RETRY = "then mark its quarantine entry for retry"
_TOPICS_MISSING, _ATOMS_MISSING = _of_both(
    "lacking_a_required_value", "quarantines",
    "These columns are NOT NULL in the proposal, and no value is invented for them.",
    f"Set the missing value in the application (an empty description is allowed), {_RETRY}.",
    "missing_values", _missing,
)  # fmt: skip
_TOPICS_WIDE, _ATOMS_WIDE = _of_both(
    "wider_than_their_proposal", "quarantines",
    "The proposal's column holds fewer characters, and no value is truncated.",
    f"Shorten the value in the application, {_RETRY}.",
    "wide_values", _wide,
)  # fmt: skip
_TOPICS_UPDATED, _ATOMS_UPDATED = _of_both(
    "updated_before_created", "accepted",
    "Nothing is computed from the two times; the backfill proceeds by id.",
    "No action required; do not measure ages of these rows.",
    "updated_before_created",
)  # fmt: skip
_TOPICS_UNDATED, _ATOMS_UNDATED = _of_both(
    "without_created_at", "accepted",
    "The proposal has its own creation time; the backfill proceeds by id.",
    "No action required; such rows are in no time window of a metric.",
    "without_created_at",
)  # fmt: skip

NEAR_DUPLICATE_TOPIC_NAMES = Finding(
    "near_duplicate_topic_names", "topics", "accepted",
    "Each topic gets its own proposal; the backfill merges nothing, because similar names do not prove the same topic.",
    "Review the pairs, and merge topics with the same meaning in the application, before or after the migration.",
    "topic_names",
)  # fmt: skip
"""Its query selects the names only; the pairs are compared in Python."""

FINDINGS: tuple[Finding, ...] = (
    # references: a valid foreign key prevents these, so a violation means that other rows may be missing too
    Finding("topic_atoms_of_missing_rows", "topic_atoms", "blocks",
            "A proposal would name a topic that does not exist, and a foreign key that prevents this is missing.",
            "Restore the missing rows or delete these pairs, then add and validate the foreign key of topic_atoms."),
    Finding("atom_links_of_missing_atoms", "atom_links", "blocks",
            "Rows were removed despite a foreign key; other rows may be missing, and a backup would not restore.",
            "Restore the missing atoms or delete these links, then add and validate the foreign key of atom_links."),
    Finding("messages_of_a_missing_topic", "messages", "blocks",
            "A topic was removed despite a foreign key; its proposal cannot be created, and a backup would not restore.",
            "Restore the topic or set topic_id to NULL in these messages, then add and validate the foreign key."),
    # values that a proposal cannot hold
    _TOPICS_MISSING,
    _ATOMS_MISSING,
    _TOPICS_WIDE,
    _ATOMS_WIDE,
    Finding("atoms_with_a_confidence_outside_0_to_1", "atoms", "quarantines",
            "The CHECK of the proposal rejects the value, and the migration chooses no other value.",
            "Correct the confidence and mark its quarantine entry for retry, or (unless NaN) for clamping into 0..1."),
    Finding("atoms_with_meta_that_jsonb_cannot_hold", "atoms", "quarantines",
            "meta is json in the atom and jsonb in the proposal, which rejects an escaped NUL and an unpaired surrogate.",
            f"Remove the escape from the atom's meta, {_RETRY}."),
    # topics
    NEAR_DUPLICATE_TOPIC_NAMES,
    Finding("topic_names_that_differ_in_case_or_blanks_only", "topics", "accepted",
            "The unique index on the name does not treat them as equal, and each has references of its own.",
            "Merge these topics in the application, before or after the migration."),
    Finding("topics_without_atoms", "topics", "accepted",
            "The proposal of a topic needs no atom.",
            "No action required; delete unused topics."),
    Finding("topics_with_an_empty_description", "topics", "accepted",
            "The NOT NULL of the proposal accepts an empty text.",
            "No action required; write descriptions where reviewers need them."),
    Finding("topics_with_a_colour_that_is_not_hex", "topics", "accepted",
            "The proposal's column holds any seven characters, and an invalid colour is displayed as before.",
            "Set an upper-case #RRGGBB colour in the application."),
    _TOPICS_UPDATED,
    _TOPICS_UNDATED,
    # atoms
    Finding("atoms_without_a_topic", "atoms", "accepted",
            "The proposal names no topic; the legacy tables allow it and the application displays such atoms.",
            "No action required; assign a topic where one is missing."),
    Finding("atoms_of_an_unknown_type", "atoms", "accepted",
            "The proposal accepts any type, and the migration guesses no other one.",
            "Correct the type in the application, or add the type to it."),
    Finding("atoms_with_empty_content", "atoms", "accepted",
            "The NOT NULL of the proposal accepts an empty text.",
            "No action required; delete atoms without content."),
    Finding("atoms_without_a_confidence", "atoms", "accepted",
            "The confidence of the proposal stays NULL for backfilled rows; none is invented.",
            "No action required; averages of confidence exclude these rows."),
    Finding("atoms_with_meta_json_null", "atoms", "accepted",
            "The application writes it for an atom without meta, and jsonb holds it unchanged.",
            "No action required; compare with meta IS NULL and with JSON null."),
    Finding("atoms_with_the_same_title_and_content", "atoms", "accepted",
            "Each atom gets its own proposal; the application does not require that they differ.",
            "No action required; delete later ones that have no topics or links of their own."),
    _ATOMS_UPDATED,
    _ATOMS_UNDATED,
    # embeddings: proposals have none, so these concern the duplicate detection only
    Finding("atoms_without_an_embedding", "atoms", "accepted",
            "A proposal has no embedding; duplicate detection by meaning does not find these atoms.",
            "Embed them in the application (title, blank line, content) before relying on detection by meaning."),
    Finding("atoms_with_an_embedding_of_another_dimension", "atoms", "accepted",
            "A proposal has no embedding; duplicate detection fails when it compares another dimension.",
            "Embed them again with the model of the others, or set the embedding to NULL."),
    Finding("atoms_with_a_zero_embedding", "atoms", "accepted",
            "A proposal has no embedding; the cosine distance of a zero vector is NaN, so no threshold finds it.",
            "Embed them again, or set the embedding to NULL."),
    # links: they stay with their atoms and are not copied to proposals
    Finding("atoms_linked_to_themselves", "atom_links", "accepted",
            "Links stay with their atoms and are not copied to proposals.",
            "No action required; delete these links, the application creates no new ones."),
    Finding("links_of_an_unknown_type", "atom_links", "accepted",
            "Links stay with their atoms and are not copied to proposals.",
            "Correct the type in the application, or add the type to it."),
)  # fmt: skip


@dataclass(frozen=True)
class FindingResult:
    """The result of one finding: `count` of `of` rows (or pairs of topics), at least where pairs are `left_out`, and a sample."""

    finding: Finding
    count: int
    of: int
    sample: tuple[dict[str, Any], ...]
    left_out: int = 0

    @property
    def share_percent(self) -> float:
        """The affected share of the table, 0 to 100; 0 for an empty table."""
        return 100.0 * self.count / self.of if self.of else 0.0

    def as_row(self) -> dict[str, Any]:
        """For a table and the evidence."""
        finding = self.finding
        at_least = (
            f" At least so many: {self.left_out:,} pairs of names were too many to compare." if self.left_out else ""
        )
        return {
            "finding": finding.name,
            "table": finding.table,
            "count": self.count,
            "of": self.of,
            "share_percent": self.share_percent,
            "effect": finding.effect,
            "reason": finding.description + at_least,
            "remedy": finding.remedy,
        }


@dataclass(frozen=True)
class DataQualityReport:
    """The results of all findings, in the order of `FINDINGS`."""

    results: tuple[FindingResult, ...]

    def met(self, effect: Effect) -> tuple[FindingResult, ...]:
        """The findings of that effect with at least one row."""
        return tuple(result for result in self.results if result.count and result.finding.effect == effect)

    @property
    def blocking(self) -> tuple[FindingResult, ...]:
        """The findings that prevent the backfill."""
        return self.met("blocks")

    def of(self, name: str) -> FindingResult:
        """The result of one finding, by its name."""
        return next(result for result in self.results if result.finding.name == name)

    def as_frame(self) -> "pd.DataFrame":
        """One row per finding: finding, table, count, of, share_percent, effect, reason, remedy."""
        import pandas as pd

        return pd.DataFrame([result.as_row() for result in self.results])


def report(
    connection: Connection, *, sample: int, similarity_percent: float, progress: Progress = lambda _: None
) -> DataQualityReport:
    """Evaluates all findings; `connection` is in autocommit, outside a transaction.

    Names are compared after the transaction has ended: 10,800 names take 0.3 s, 200,000 half a minute of CPU time.
    """
    if sample < 1:
        raise ValueError(f"sample is {sample}: at least one row is needed for the count of a finding")
    with connection.transaction():
        connection.execute(text_of("foundation/fingerprint_transaction"))
        rows_of = connection.execute(text_of("data_quality/table_rows")).fetchone() or {}
        names = [tuple(row.values()) for row in connection.execute(NEAR_DUPLICATE_TOPIC_NAMES.query())]
        results = {}
        for finding in FINDINGS:
            progress(f"looking for {finding.name.replace('_', ' ')}")
            if finding is not NEAR_DUPLICATE_TOPIC_NAMES:
                ordered = statement("data_quality/ordered", finding=finding.query())
                count, rows = count_and_sample(connection, ordered, PARAMETERS, sample)
                results[finding] = FindingResult(finding, count, rows_of[finding.table], rows)
    pairs = near_duplicates(names, similarity_percent=similarity_percent, sample=sample, progress=progress)
    alike = tuple(asdict(pair) for pair in pairs.pairs)
    results[NEAR_DUPLICATE_TOPIC_NAMES] = FindingResult(
        NEAR_DUPLICATE_TOPIC_NAMES, pairs.count, pairs.compared, alike, pairs.left_out
    )
    return DataQualityReport(tuple(results[finding] for finding in FINDINGS))
