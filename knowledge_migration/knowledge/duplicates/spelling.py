"""The row whose name is spelled most alike. Memory or pg_trgm propose rows; each is scored by `names` as it is now.

pg_trgm is used where the user has it and a trigram index; none is created here. It proposes from 0.3 on, below every
threshold, because names with nearly the same letters can share few trigrams ("python" and "IPython" score 0.5).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates.model import DuplicateOptions, Similar
from knowledge_migration.knowledge.duplicates.name_index import NameCache
from knowledge_migration.knowledge.duplicates.names import Spelling
from knowledge_migration.knowledge.entity_kinds import EntityKind

Rows = Iterable[tuple[int, str]]

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


class SpellingSearch:
    """The search over the names of one kind; it checks every `full_refresh_seconds` whether pg_trgm serves it."""

    def __init__(
        self,
        kind: EntityKind,
        score_from: float,
        options: DuplicateOptions,
        clock: Callable[[], float],
        cache: NameCache,
    ) -> None:
        self._kind = kind
        self._score_from = score_from
        self._options = options
        self._clock = clock
        self._cache = cache
        self._indexed: tuple[float, bool] | None = None

    def refresh(self, connection: sa.Connection) -> None:
        """Reads the names that are not held yet, where they are searched in memory."""
        if not self._is_indexed(connection):
            self._cache.refreshed(connection)

    def similar(self, connection: sa.Connection, wanted: Mapping[int, str]) -> dict[int, Similar]:
        """For each number of a name the row that is spelled most alike and reaches the score."""
        if not wanted:
            return {}
        rows = self._proposed(connection, wanted)
        best = {number: self._best(Spelling(name), rows[number]) for number, name in wanted.items()}
        return {number: similar for number, similar in best.items() if similar}

    def _proposed(self, connection: sa.Connection, wanted: Mapping[int, str]) -> Mapping[int, Rows]:
        if self._is_indexed(connection):
            return proposed_by_trigrams(connection, self._kind, wanted)
        index = self._cache.refreshed(connection)
        if index is None:
            return {number: [] for number in wanted}
        ids = {
            number: index.search(Spelling(name), score_from=self._score_from, most=self._options.confirmed)
            for number, name in wanted.items()
        }
        now = names_now(connection, self._kind, {id for proposed in ids.values() for id in proposed})
        return {number: [(id, now[id]) for id in proposed if id in now] for number, proposed in ids.items()}

    def _best(self, wanted: Spelling, rows: Rows) -> Similar | None:
        scored = ((wanted.score(Spelling(name)), -id) for id, name in rows)
        score, negative = max(scored, default=(0.0, 0))
        return Similar(-negative, score, "spelling") if score >= self._score_from else None

    def _is_indexed(self, connection: sa.Connection) -> bool:
        now = self._clock()
        if self._indexed is None or now - self._indexed[0] >= self._options.full_refresh_seconds:
            self._indexed = now, has_trigram_index(connection, self._kind)
        return self._indexed[1]


def names_now(connection: sa.Connection, kind: EntityKind, ids: set[int]) -> dict[int, str]:
    """The names of these rows as they are now, by id."""
    columns = kind.entities.c
    query = sa.select(columns.id, columns[kind.label]).where(columns.id.in_(sorted(ids)))
    return {row[0]: row[1] for row in connection.execute(query)} if ids else {}


def has_trigram_index(connection: sa.Connection, kind: EntityKind) -> bool:
    """Whether pg_trgm is on the search path and a whole, valid trigram index has the name as its first column."""
    index = (
        sa.select(_indexes.c.indrelid)
        .join_from(_indexes, _classes, _classes.c.oid == _indexes.c.indclass[0])
        .join(_columns, sa.and_(_columns.c.attrelid == _indexes.c.indrelid, _columns.c.attnum == _indexes.c.indkey[0]))
        .where(
            _indexes.c.indrelid == sa.func.to_regclass(kind.table),
            _indexes.c.indisvalid,
            _indexes.c.indpred.is_(None),
            _columns.c.attname == kind.label,
            _classes.c.opcname.in_(OPERATOR_CLASSES),
        )
    )
    has_function = sa.func.to_regprocedure("similarity(text,text)").is_not(None)
    return bool(connection.scalar(sa.select(sa.and_(has_function, index.exists()))))


def proposed_by_trigrams(
    connection: sa.Connection, kind: EntityKind, wanted: Mapping[int, str]
) -> dict[int, list[tuple[int, str]]]:
    """For each number of a name the rows (id, name) that share enough trigrams with it."""
    given = sa.values(sa.column("number", sa.Integer), sa.column("name", sa.Text), name="wanted").data(
        [*wanted.items()]
    )
    id_column, name_column = kind.entities.c.id, kind.entities.c[kind.label]
    alike = (
        sa.select(id_column, name_column.label("name"))
        .where(name_column.bool_op("%")(given.c.name))
        .order_by(sa.func.similarity(name_column, given.c.name).desc(), id_column)
        .limit(PROPOSALS)
        .lateral("alike")
    )
    query = sa.select(given.c.number, alike.c.id, alike.c.name).join_from(given, alike, sa.true())
    rows: dict[int, list[tuple[int, str]]] = {number: [] for number in wanted}
    with _threshold(connection):
        for number, id, name in connection.execute(query):
            rows[number].append((id, name))
    return rows


@contextmanager
def _threshold(connection: sa.Connection) -> Iterator[None]:
    """The setting that `%` reads, for this transaction only; in autocommit the server's own stays (0.3 by default)."""
    before = connection.scalar(sa.select(sa.func.current_setting(SETTING, True)))
    connection.execute(sa.select(sa.func.set_config(SETTING, str(PROPOSED_FROM), True)))
    yield
    connection.execute(sa.select(sa.func.set_config(SETTING, before or "0.3", True)))
