"""The proposal of a row that exists: which columns it copies, and how. The backfill, the capture and the comparison share it."""

from psycopg import sql

from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.knowledge.entity_kinds import EntityKind


def insertion(kind: EntityKind, rows: sql.Composable, run: sql.Composable, *, refresh: bool) -> sql.Composed:
    """Inserts the approved proposals of `rows`, a query; with `refresh`, it updates a proposal that exists already."""
    columns = proposal_columns(kind)
    names = [name for name, _ in columns]
    return statement(
        "backfill/insertion",
        proposals=f"public.{kind.proposal_table}",
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ").join(value for _, value in columns),
        rows=rows,
        run=run,
        on_conflict=_refreshing([*names, "review_notes"]) if refresh else sql.SQL(""),
    )


def taken_columns(kind: EntityKind) -> sql.Composable:
    """The columns of a row that a batch reads, by name: the table may have others."""
    return sql.SQL(", ").join(sql.Identifier("source", name) for name in ("id", *kind.values))


def proposal_columns(kind: EntityKind) -> list[tuple[str, sql.Composable]]:
    """The proposal's columns that come from the row `source`, each with the expression of its value."""
    copied = [(name, _copied(name, kind.casts.get(name))) for name in kind.copied]
    if not kind.has_confidence:
        return [*copied, ("confidence", sql.SQL("NULL::double precision"))]
    return [
        *copied,
        ("confidence", statement("backfill/stated_confidence")),
        ("proposed_topic_ids", statement("backfill/proposed_topic_ids")),
    ]


def _copied(name: str, cast: str | None) -> sql.Composable:
    column = sql.Identifier("source", name)
    return sql.SQL("{}::{}").format(column, sql.Identifier(cast)) if cast else column


def _refreshing(names: list[str]) -> sql.Composable:
    refreshed = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names)
    return sql.SQL("ON CONFLICT (id) DO UPDATE SET {}").format(refreshed)
