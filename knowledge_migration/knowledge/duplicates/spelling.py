"""Which row's name is spelled most alike: proposals from memory or from pg_trgm, all scored on the row as it is now."""

from collections.abc import Callable, Iterable, Mapping

import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates import trigram_search
from knowledge_migration.knowledge.duplicates.model import Names, Similar
from knowledge_migration.knowledge.duplicates.name_cache import NameCache
from knowledge_migration.knowledge.duplicates.names import Spelling
from knowledge_migration.knowledge.duplicates.options import DuplicateOptions

Rows = Iterable[tuple[int, str]]


class SpellingSearch:
    """The search over one column; it looks again whether pg_trgm serves it every `full_refresh_seconds`."""

    def __init__(self, names: Names, score_from: float, options: DuplicateOptions, clock: Callable[[], float]) -> None:
        self.names = names
        self._score_from = score_from
        self._options = options
        self._clock = clock
        self._held = NameCache(names, options, clock)
        self._indexed: tuple[float, bool] | None = None

    def refresh(self, connection: sa.Connection) -> None:
        """Reads the names that are not held yet, where they are searched in memory."""
        if not self._is_indexed(connection):
            self._held.refreshed(connection)

    def similar(self, connection: sa.Connection, wanted: Mapping[int, str]) -> dict[int, Similar]:
        """For each number of a name the row that is spelled most alike and reaches the score."""
        if not wanted:
            return {}
        proposed = self._proposed(connection, wanted)
        best = {number: self._best(Spelling(name), proposed[number]) for number, name in wanted.items()}
        return {number: similar for number, similar in best.items() if similar}

    def _proposed(self, connection: sa.Connection, wanted: Mapping[int, str]) -> Mapping[int, Rows]:
        if self._is_indexed(connection):
            return trigram_search.proposed(connection, self.names, wanted)
        index = self._held.refreshed(connection)
        if index is None:
            return {number: [] for number in wanted}
        found = {
            number: index.search(Spelling(name), score_from=self._score_from, most=self._options.confirmed)
            for number, name in wanted.items()
        }
        now = self._read_again(connection, {id for ids in found.values() for id in ids})
        return {number: [(id, now[id]) for id in ids if id in now] for number, ids in found.items()}

    def _read_again(self, connection: sa.Connection, ids: set[int]) -> dict[int, str]:
        if not ids:
            return {}
        rows = connection.execute(sa.select(self.names.id, self.names.column).where(self.names.id.in_(sorted(ids))))
        return {row[0]: row[1] for row in rows}

    def _best(self, wanted: Spelling, rows: Rows) -> Similar | None:
        scored = ((wanted.score(Spelling(name)), -id) for id, name in rows)
        score, negative = max(scored, default=(0.0, 0))
        return Similar(-negative, score, "spelling") if score >= self._score_from else None

    def _is_indexed(self, connection: sa.Connection) -> bool:
        now = self._clock()
        if self._indexed is None or now - self._indexed[0] >= self._options.full_refresh_seconds:
            self._indexed = now, trigram_search.is_indexed(connection, self.names)
        return self._indexed[1]
