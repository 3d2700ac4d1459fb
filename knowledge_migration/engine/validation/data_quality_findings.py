"""What may be wrong with the data under migration, declared once: the finding, what it does to the backfill, and why.

The table decides; `data_quality` only runs it. What a finding does to the backfill is one of:

- `blocks`: the backfill must not start, because what it would write could not be proven right;
- `quarantines`: that row gets no proposal and goes to quarantine; all others go on, and the operator resolves it;
- `accepted`: known, and carried over as it is. The migration repairs no content: a proposal states what its row states.
"""

from dataclasses import dataclass
from typing import Literal

Effect = Literal["blocks", "quarantines", "accepted"]
Table = Literal["topics", "atoms", "topic_atoms", "atom_links", "messages"]

ATOM_TYPES = ("problem", "solution", "decision", "question", "insight", "pattern", "requirement")
LINK_TYPES = ("continues", "solves", "contradicts", "supports", "refines", "relates_to", "depends_on")
EMBEDDING_DIMENSIONS = 1536


@dataclass(frozen=True)
class Finding:
    """One kind of dirt: `sql/reports/quality_<sql>.sql` returns its rows, which are counted against those of `table`.

    `names_compared` marks the finding whose rows are only the names; the pairs among them are found in Python.
    """

    name: str
    table: Table
    effect: Effect
    reason: str
    remedy: str
    sql: str = ""
    names_compared: bool = False

    @property
    def statement(self) -> str:
        """The name of its SQL file, as `statements` loads it."""
        return f"data_quality/{self.sql or self.name}"


NEAR_DUPLICATE_TOPIC_NAMES = Finding(
    name="near_duplicate_topic_names",
    table="topics",
    effect="accepted",
    reason="each topic gets a proposal of its own; the backfill merges nothing, likeness of names proves no sameness",
    remedy="review the pairs; merge topics that mean one thing in the application, before or after the migration",
    sql="topic_names",
    names_compared=True,
)

FINDINGS: tuple[Finding, ...] = (
    # --- references: a valid foreign key prevents them, so finding one means that more than the row is wrong --------
    Finding(
        name="topic_atoms_of_missing_rows",
        table="topic_atoms",
        effect="blocks",
        reason="a proposal would name a topic that does not exist, and a foreign key that should prevent it is gone",
        remedy="restore the missing rows or delete these pairs, then add and validate the foreign key of topic_atoms",
    ),
    Finding(
        name="atom_links_of_missing_atoms",
        table="atom_links",
        effect="blocks",
        reason="rows were removed around a foreign key: what else is missing is unknown; a backup would not restore",
        remedy="restore the missing atoms or delete these links, then add and validate the foreign key of atom_links",
    ),
    Finding(
        name="messages_of_a_missing_topic",
        table="messages",
        effect="blocks",
        reason="a topic was removed around a foreign key: its proposal cannot be made, and a backup would not restore",
        remedy="restore the topic or set topic_id to NULL in these messages, then add and validate the foreign key",
    ),
    # --- what a proposal cannot hold ----------------------------------------------------------------------------------
    Finding(
        name="topics_lacking_a_required_value",
        table="topics",
        effect="quarantines",
        reason="name and description are NOT NULL in the proposal, and no value is invented for them",
        remedy="give the topic a name and a description ('' will do), then mark its quarantine entry for retry",
    ),
    Finding(
        name="atoms_lacking_a_required_value",
        table="atoms",
        effect="quarantines",
        reason="type, title and content are NOT NULL in the proposal, and no value is invented for them",
        remedy="fill in what is lacking, then mark the atom's quarantine entry for retry",
    ),
    Finding(
        name="topics_wider_than_their_proposal",
        table="topics",
        effect="quarantines",
        reason="the proposal's column takes fewer characters, and nothing is cut off silently",
        remedy="shorten the value in the application, then mark the topic's quarantine entry for retry",
    ),
    Finding(
        name="atoms_wider_than_their_proposal",
        table="atoms",
        effect="quarantines",
        reason="the proposal's column takes fewer characters, and nothing is cut off silently",
        remedy="shorten the value in the application, then mark the atom's quarantine entry for retry",
    ),
    Finding(
        name="atoms_with_a_confidence_outside_0_to_1",
        table="atoms",
        effect="quarantines",
        reason="the proposal's CHECK refuses it, and a value nearer to the truth is not ours to choose",
        remedy="correct the confidence and mark its quarantine entry for retry, or (unless NaN) for clamping into 0..1",
    ),
    Finding(
        name="atoms_with_meta_that_jsonb_cannot_hold",
        table="atoms",
        effect="quarantines",
        reason="meta is json here and jsonb in the proposal, which holds no escaped NUL and no half surrogate pair",
        remedy="take the escape out of the atom's meta, then mark its quarantine entry for retry",
    ),
    # --- topics as they are -------------------------------------------------------------------------------------------
    NEAR_DUPLICATE_TOPIC_NAMES,
    Finding(
        name="topic_names_that_differ_in_case_or_blanks_only",
        table="topics",
        effect="accepted",
        reason="the unique index on the name does not see them as equal, and each is referenced by its own rows",
        remedy="merge them in the application, before or after the migration",
    ),
    Finding(
        name="topics_without_atoms",
        table="topics",
        effect="accepted",
        reason="a proposal of a topic needs no atom",
        remedy="none needed; delete topics that nobody misses",
    ),
    Finding(
        name="topics_with_an_empty_description",
        table="topics",
        effect="accepted",
        reason="empty is a value: the proposal's NOT NULL takes it",
        remedy="none needed; write descriptions where reviewers will want them",
    ),
    Finding(
        name="topics_with_a_colour_that_is_not_hex",
        table="topics",
        effect="accepted",
        reason="the proposal's column takes any seven characters, and a wrong colour is shown as wrongly as before",
        remedy="set an upper-case #RRGGBB colour in the application",
    ),
    Finding(
        name="topics_updated_before_created",
        table="topics",
        effect="accepted",
        reason="nothing is computed from the two times, and the order of the backfill is that of the ids",
        remedy="none needed; do not measure ages on these rows",
        sql="updated_before_created",
    ),
    Finding(
        name="topics_without_created_at",
        table="topics",
        effect="accepted",
        reason="the proposal has a creation time of its own, and the order of the backfill is that of the ids",
        remedy="none needed; such rows are in no window of time that a metric looks at",
        sql="without_created_at",
    ),
    # --- atoms as they are --------------------------------------------------------------------------------------------
    Finding(
        name="atoms_without_a_topic",
        table="atoms",
        effect="accepted",
        reason="the proposal then names no topic; the legacy tables allow it and the application shows such atoms",
        remedy="none needed; assign a topic where one is missed",
    ),
    Finding(
        name="atoms_of_an_unknown_type",
        table="atoms",
        effect="accepted",
        reason="the proposal's type is as free as the atom's, and a guess at what was meant would be invented",
        remedy="correct the type in the application, or teach it the type",
    ),
    Finding(
        name="atoms_with_empty_content",
        table="atoms",
        effect="accepted",
        reason="empty is a value: the proposal's NOT NULL takes it",
        remedy="none needed; delete atoms that say nothing",
    ),
    Finding(
        name="atoms_without_a_confidence",
        table="atoms",
        effect="accepted",
        reason="the proposal's confidence stays NULL for backfilled rows: none is ever invented",
        remedy="none needed; averages of confidence leave these rows out",
    ),
    Finding(
        name="atoms_with_meta_json_null",
        table="atoms",
        effect="accepted",
        reason="it is the application's norm for an atom without meta, and jsonb holds it as it is",
        remedy="none needed; compare with meta IS NULL and with JSON null alike",
    ),
    Finding(
        name="atoms_with_the_same_title_and_content",
        table="atoms",
        effect="accepted",
        reason="each atom gets a proposal of its own; the application never promised that they differ",
        remedy="none needed; delete the later ones where they have no topics or links of their own",
    ),
    Finding(
        name="atoms_updated_before_created",
        table="atoms",
        effect="accepted",
        reason="nothing is computed from the two times, and the order of the backfill is that of the ids",
        remedy="none needed; do not measure ages on these rows",
        sql="updated_before_created",
    ),
    Finding(
        name="atoms_without_created_at",
        table="atoms",
        effect="accepted",
        reason="the proposal has a creation time of its own, and the order of the backfill is that of the ids",
        remedy="none needed; such rows are in no window of time that a metric looks at",
        sql="without_created_at",
    ),
    # --- embeddings: proposals hold none, so they matter to duplicate detection only ----------------------------------
    Finding(
        name="atoms_without_an_embedding",
        table="atoms",
        effect="accepted",
        reason="a proposal holds no embedding; duplicate detection by meaning cannot see these atoms",
        remedy="embed them in the application (title, blank line, content) before relying on detection by meaning",
    ),
    Finding(
        name="atoms_with_an_embedding_of_another_dimension",
        table="atoms",
        effect="accepted",
        reason="a proposal holds no embedding; comparing one of another dimension fails in duplicate detection",
        remedy="embed them again with the model of the others, or set the embedding to NULL",
    ),
    Finding(
        name="atoms_with_a_zero_embedding",
        table="atoms",
        effect="accepted",
        reason="a proposal holds no embedding; a zero vector is similar to nothing, its distance is NaN",
        remedy="embed them again, or set the embedding to NULL",
    ),
    # --- links as they are --------------------------------------------------------------------------------------------
    Finding(
        name="atoms_linked_to_themselves",
        table="atom_links",
        effect="accepted",
        reason="links stay with their atoms and are not copied to proposals",
        remedy="none needed; delete them, the application makes no new ones",
    ),
    Finding(
        name="links_of_an_unknown_type",
        table="atom_links",
        effect="accepted",
        reason="links stay with their atoms and are not copied to proposals",
        remedy="correct the type in the application, or teach it the type",
    ),
)
