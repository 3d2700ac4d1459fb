"""What holds a row against its proposal, column by column: which columns, which rows may be judged, and when nothing can be told.

A row is judged while nobody has written it since it was linked; its version (xmin) says so. Where a restore has lost the
versions, a difference can no longer be told from an edit that forgot `updated_at`, and that is an error, not bad data.
"""

from collections.abc import Iterable, Mapping

from psycopg import sql

from knowledge_migration.engine.backfill.batch import proposal_columns, taken_columns
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import EntityKind

Names = dict[str, str | sql.Composable]


def tables(kind: EntityKind) -> dict[str, str]:
    """The names of both tables."""
    return {"table": f"public.{kind.table}", "proposals": f"public.{kind.proposal_table}"}


def names(kind: EntityKind) -> Names:
    """Everything that a statement over pairs of row and proposal may name."""
    compared = [(name, value) for name, value in proposal_columns(kind) if name in kind.values]
    differs = [
        sql.SQL("proposal.{} IS DISTINCT FROM {}").format(sql.Identifier(name), value) for name, value in compared
    ]
    return {
        **tables(kind),
        "table_name": sql.Literal(kind.table),
        "taken": taken_columns(kind),
        "judged": statement("validation/judged_by_version"),
        "label": kind.label,
        "similar": kind.similar.name,
        "differs": sql.SQL(" OR ").join(differs),
        "differing": sql.SQL(", ").join(
            sql.SQL("CASE WHEN {} THEN {} END").format(differ, sql.Literal(name))
            for differ, (name, _) in zip(differs, compared, strict=True)
        ),
    }


def parameters(connection: Connection, kind: EntityKind) -> dict[str, object]:
    """The parameters of such a statement: the kind, and whether row versions still say who wrote a row."""
    given: dict[str, object] = {"entity": kind.name}
    row = connection.execute(statement("validation/row_versions_kept", **tables(kind)), given).fetchone()
    return {**given, "versions_kept": row is not None and row["kept"]}


def extent(connection: Connection, kind: EntityKind, given: Mapping[str, object]) -> dict[str, object]:
    """How many pairs there are and how many can be judged; raises `VerificationError` when none can although rows are linked."""
    judged = statement("validation/judged_by_version")
    row = connection.execute(
        statement("validation/value_comparison_extent", judged=judged, **tables(kind)), given
    ).fetchone()
    assert row is not None
    refuse_blindness(kind, row["linked"], row["compared"], row["written_since_unstamped"])
    return {**row, "versions_kept": given["versions_kept"]}


def refuse_blindness(kind: EntityKind, linked: int, compared: int, written_since_unstamped: int) -> None:
    """Raises `VerificationError` when no pair can be judged because somebody has written all rows since."""
    if written_since_unstamped and not compared:
        raise VerificationError(
            f"None of the {linked} linked rows of {kind.table} can be compared with its proposal: somebody has "
            f"written all of them since, {written_since_unstamped} without a new updated_at. Roll the backfill "
            "back and run it again: each proposal is then made of the row as it is."
        )


def refuse_what_cannot_be_told(
    kind: EntityKind, given: Mapping[str, object], count: int, ids: Iterable[object]
) -> None:
    """Raises `VerificationError` when rows differ and a restore has lost what tells a wrong copy from an edit."""
    if count and not given["versions_kept"]:
        first = ", ".join(str(one) for one in ids)
        raise VerificationError(
            f"{count} rows of {kind.table} differ from their proposal without a new updated_at (first: {first}), "
            "and whether a user edited them or the copy was wrong cannot be told: the database was restored from a dump, "
            "which loses the mark of the transaction that wrote a row. Ask this of the database that was migrated, or "
            "roll the backfill back and run it again."
        )
