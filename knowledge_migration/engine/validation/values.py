"""The comparison of a row with its proposal, column by column: the columns, the pairs that can be judged, and the limits.

A row is judged while nobody has written it since it was linked, which its version (xmin) shows. After a restore has lost the
versions, a difference cannot be distinguished from an edit without a new `updated_at`: an error, not bad data.
"""

from collections.abc import Iterable, Mapping

from psycopg import sql

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.foundation.origin_proposals import proposal_columns, taken_columns
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import EntityKind

Names = dict[str, str | sql.Composable]


def tables(kind: EntityKind) -> dict[str, str]:
    """The names of both tables, for a statement."""
    return {"table": f"public.{kind.table}", "proposals": f"public.{kind.proposal_table}"}


def names(kind: EntityKind) -> Names:
    """All names of a statement over pairs of row and proposal."""
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
    """The parameters of such a statement: the kind, and whether the row versions are original."""
    given: dict[str, object] = {"entity": kind.name}
    row = connection.execute(statement("validation/row_versions_kept", **tables(kind)), given).fetchone()
    return {**given, "versions_kept": row is not None and row["kept"]}


def extent(connection: Connection, kind: EntityKind, given: Mapping[str, object]) -> dict[str, object]:
    """The numbers of pairs and of judged pairs; raises `VerificationError` when rows are linked but none can be judged."""
    judged = statement("validation/judged_by_version")
    row = connection.execute(
        statement("validation/value_comparison_extent", judged=judged, **tables(kind)), given
    ).fetchone()
    assert row is not None
    require_judged_pairs(kind, row["linked"], row["compared"], row["written_since_unstamped"])
    return {**row, "versions_kept": given["versions_kept"]}


def require_judged_pairs(kind: EntityKind, linked: int, compared: int, written_since_unstamped: int) -> None:
    """Raises `VerificationError` when no pair can be judged because all rows were written since."""
    if written_since_unstamped and not compared:
        raise VerificationError(
            f"None of the {linked:,} linked rows of {kind.table} can be compared with its proposal: all of them were "
            f"written since, {written_since_unstamped:,} without a new updated_at. Roll the backfill back and run it again, "
            "so that each proposal is created from the present row."
        )


def require_row_versions(kind: EntityKind, given: Mapping[str, object], count: int, ids: Iterable[object]) -> None:
    """Raises `VerificationError` when rows differ and a restore has lost the original row versions."""
    if count and not given["versions_kept"]:
        first = ", ".join(str(one) for one in ids)
        raise VerificationError(
            f"{count:,} rows of {kind.table} differ from their proposal without a new updated_at (first: {first}). The "
            "database was restored from a dump, which loses the row versions, so an edit by a user cannot be distinguished "
            "from a wrong copy. Validate the database that was migrated, or roll the backfill back and run it again."
        )
