"""The topic whose name means the most similar thing, by vectors of all names in memory; a result is confirmed in the database.

A vector is computed once for each name and model and kept in a file, because 100,000 names take minutes. The search is exact:
a bound on the first dimensions, rotated so that they carry the most, rules out nearly all names (100,000 names: 7 ms of CPU).
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from knowledge_migration.knowledge.duplicates.model import Similar
from knowledge_migration.knowledge.duplicates.name_index import Block, NameCache
from knowledge_migration.knowledge.duplicates.name_model import NameModel, Vectors
from knowledge_migration.knowledge.duplicates.names import normalised

logger = logging.getLogger(__name__)

LEADING = 128
ROTATED_FROM = 512
NAMES_AT_ONCE = 500
ROUNDING = 1e-3

HalfVectors = NDArray[np.float16]


@dataclass(frozen=True)
class MeaningBlock:
    """The vectors of one block of names: rotated, their leading part, and the length of the rest."""

    block: Block
    vectors: HalfVectors
    leading: Vectors
    rest: Vectors

    def reaching(self, wanted: Vectors, cosine_from: float) -> list[tuple[float, int, str]]:
        """(cosine, id, name) of the names that reach the cosine."""
        left = np.sqrt(max(0.0, 1.0 - float(wanted[:LEADING] @ wanted[:LEADING])))
        places = np.flatnonzero(self.leading @ wanted[:LEADING] + self.rest * left >= cosine_from - ROUNDING)
        cosines = self.vectors[places].astype(np.float32) @ wanted
        similar = zip(places, cosines, strict=True)
        return [
            (float(cosine), self.block.held[at].id, self.block.held[at].name)
            for at, cosine in similar
            if cosine >= cosine_from
        ]

    def by_name(self) -> dict[str, HalfVectors]:
        """The vector of each name."""
        return {row.name: vector for row, vector in zip(self.block.held, self.vectors, strict=True)}


class MeaningSearch:
    """The search among the names of one `NameCache`; shared by all threads."""

    def __init__(
        self, model: NameModel, names: NameCache, vectors: Path | None, *, score_from: float, most: int
    ) -> None:
        self._model = model
        self._names = names
        self._stored = StoredVectors(vectors, model)
        self._cosine_from = 2 * score_from - 1
        self._most = most
        self._rotation: Vectors = np.empty((0, 0), dtype=np.float32)
        self._blocks: Mapping[int, MeaningBlock] = {}

    def refresh(self, connection: sa.Connection) -> bool:
        """Reads the names and computes the vectors that are missing; False where there are more names than may be held."""
        index = self._names.refreshed(connection)
        if index is None:
            return False
        known = self._blocks
        changed = {n: block for n, block in index.blocks.items() if n not in known or known[n].block is not block}
        if changed:
            kept = {n: known[n].by_name() if n in known else {} for n in changed}
            new = [row.name for n, block in changed.items() for row in block.held if row.name not in kept[n]]
            vectors = self._stored.of(new)
            if not self._rotation.size:
                self._rotation = _rotation(np.stack([*vectors.values()]).astype(np.float32))
            known = {**known, **{n: self._block(block, vectors, kept[n]) for n, block in changed.items()}}
        self._blocks = {n: known[n] for n in index.blocks}
        return True

    def similar(
        self, connection: sa.Connection, wanted: Mapping[int, str], read_again: Callable[[set[int]], dict[int, str]]
    ) -> dict[int, Similar]:
        """For each number of a name the row that means the most similar thing, if one reaches the score as it is named now."""
        if not wanted or not self.refresh(connection) or not self._rotation.size:
            return {}
        vectors = {number: self._model.embed(normalised(name)) for number, name in wanted.items()}
        candidates = {number: self._search(vector @ self._rotation) for number, vector in vectors.items()}
        now = read_again({id for rows in candidates.values() for _, id, _ in rows})
        best = {number: self._best(vectors[number], rows, now) for number, rows in candidates.items()}
        return {number: similar for number, similar in best.items() if similar}

    def _block(self, block: Block, vectors: Mapping[str, HalfVectors], kept: Mapping[str, HalfVectors]) -> MeaningBlock:
        new = {row.name: vectors[normalised(row.name)] for row in block.held if row.name not in kept}
        turned = np.stack([*new.values()]).astype(np.float32) @ self._rotation if new else ()
        by_name = {**kept, **dict(zip(new, turned, strict=True))}
        rotated = np.stack([by_name[row.name] for row in block.held]).astype(np.float32)
        leading = np.ascontiguousarray(rotated[:, :LEADING])
        rest = np.sqrt(np.maximum(0.0, 1.0 - (leading**2).sum(axis=1)))
        return MeaningBlock(block, rotated.astype(np.float16), leading, rest)

    def _search(self, wanted: Vectors) -> list[tuple[float, int, str]]:
        rows = [row for block in self._blocks.values() for row in block.reaching(wanted, self._cosine_from)]
        return sorted(rows, key=lambda row: (-row[0], row[1]))[: self._most]

    def _best(self, wanted: Vectors, rows: Sequence[tuple[float, int, str]], now: Mapping[int, str]) -> Similar | None:
        """Of the rows that still exist, scored again where they have another name now."""
        scored = [
            (cosine if now[id] == name else float(wanted @ self._model.embed(normalised(now[id]))), -id)
            for cosine, id, name in rows
            if id in now and normalised(now[id])
        ]
        cosine, negative = max(scored, default=(-1.0, 0))
        return Similar(-negative, (1 + min(1.0, cosine)) / 2, "meaning") if cosine >= self._cosine_from else None


class StoredVectors:
    """Vectors by the hash of the normalised name, in a SQLite file that processes share; without a directory nothing is kept."""

    def __init__(self, directory: Path | None, model: NameModel) -> None:
        self._model = model
        self._file = directory / f"{model.fingerprint[:32]}.sqlite" if directory else None

    def of(self, names: Iterable[str]) -> dict[str, HalfVectors]:
        """The vector of each of these names, by its normalised form."""
        wanted = [*dict.fromkeys(normalised(name) for name in names)]
        vectors = self._read(wanted)
        missing = [name for name in wanted if name not in vectors]
        if len(missing) > NAMES_AT_ONCE:
            logger.info("computing the vectors of %s names; later starts read them", f"{len(missing):,}")
        for low in range(0, len(missing), NAMES_AT_ONCE):
            computed = {name: self._model.embed(name).astype(np.float16) for name in missing[low : low + NAMES_AT_ONCE]}
            self._write(computed)
            vectors |= computed
        return vectors

    def _read(self, names: Sequence[str]) -> dict[str, HalfVectors]:
        if self._file is None or not self._file.exists():
            return {}
        by_key = {_key(name): name for name in names}
        query = "SELECT name, vector FROM vectors WHERE name IN (SELECT value FROM json_each(?))"
        try:
            with closing(sqlite3.connect(self._file)) as file:
                rows = file.execute(query, [json.dumps([*by_key])]).fetchall()
        except sqlite3.Error as error:
            logger.warning("%s cannot be read, so vectors are computed again; delete it: %s", self._file, error)
            return {}
        vectors = ((by_key[key], np.frombuffer(vector, dtype=np.float16)) for key, vector in rows)
        return {name: vector for name, vector in vectors if len(vector) == self._model.dimensions}

    def _write(self, vectors: Mapping[str, HalfVectors]) -> None:
        if self._file is None:
            return
        rows = [(_key(name), vector.tobytes()) for name, vector in vectors.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file)) as file, file:
                file.execute("CREATE TABLE IF NOT EXISTS vectors (name text PRIMARY KEY, vector blob) WITHOUT ROWID")
                file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            logger.warning("%s cannot be written, so the next start computes vectors again: %s", self._file, error)


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _rotation(vectors: Vectors) -> Vectors:
    """Turns vectors so that the first dimensions carry the most; of few names nothing is to be learnt."""
    if len(vectors) < ROTATED_FROM:
        return np.eye(vectors.shape[1], dtype=np.float32)
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    return np.ascontiguousarray(directions[:, ::-1], dtype=np.float32)
