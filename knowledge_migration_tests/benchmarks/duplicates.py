"""The search for similar topics: precision and recall per tier and score on known duplicates, and the time of a search.

Usage: python -m knowledge_migration_tests.benchmarks.duplicates [--names 100000] [--searches 300]. Vectors of words and n-grams
are measured here only: they did not improve the search. pg_trgm runs on a PostgreSQL 15 of the system.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import Candidate, DuplicateOptions
from knowledge_migration.knowledge.duplicates.name_model import NameModel
from knowledge_migration.knowledge.duplicates.names import normalised, trigrams, words
from knowledge_migration.knowledge.entity_kinds import TOPIC
from knowledge_migration.knowledge.tables import topics
from knowledge_migration_tests.knowledge.duplicates.gold import (
    Answer,
    Measured,
    by_meaning,
    by_spelling,
    hybrid,
    measured,
    rows,
    twins,
)
from knowledge_migration_tests.knowledge.duplicates.semantic import model_directory
from knowledge_migration_tests.knowledge.duplicates.trigram_server import available, trigram_server

SPELLING_SCORES = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.99)
NAME_MEANING_SCORES = (0.85, 0.875, 0.885, 0.89, 0.895, 0.9, 0.925)
MEANING_SCORES = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
console = Console(highlight=False, width=120)


def main() -> None:
    """Prints the quality, then the times."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--names", type=int, default=100_000)
    arguments.add_argument("--searches", type=int, default=300)
    given = arguments.parse_args()
    print_quality()
    if not available():
        console.print("No PostgreSQL 15 of the system to start: no times.")
        return
    with trigram_server() as engine:
        print_times(engine, given.names, given.searches)


def print_quality() -> None:
    """The table of each tier."""
    real, truth = rows("small", "topics"), twins()
    spelled = by_spelling(real, score_from=min(SPELLING_SCORES))
    found = {id for id, answer in spelled.items() if answer.score >= DuplicateOptions().topic_spelling_from}
    console.print(f"{len(real):,} topics, {len(truth)} with a twin. Exact: 0 answers, names are unique.")
    quality("spelling", SPELLING_SCORES, spelled, truth)
    meant = by_meaning(real, name_model())
    quality("meaning of the name", NAME_MEANING_SCORES, meant, truth)
    chosen = {id: answer for id, answer in spelled.items() if id in found}
    both = Table("meaning from", "answers", "right", "precision", "recall", title="spelling, then meaning of the name")
    for score in NAME_MEANING_SCORES:
        add_row(both, score, measured(hybrid(chosen, meant, score), truth, 0))
    console.print(both)
    for title, features in (("description", described), ("name and description", named_and_described)):
        near = by_vectors(real, features)
        quality(f"vectors of {title}", MEANING_SCORES, near, truth)
        left = {id: answer for id, answer in near.items() if id not in found}
        quality(f"vectors of {title}, where spelling finds nothing", MEANING_SCORES, left, truth)


def quality(
    title: str, scores: Sequence[float], answers: Mapping[int, Answer], truth: dict[int, frozenset[int]]
) -> None:
    """One tier over its scores."""
    table = Table("score from", "answers", "right", "precision", "recall", title=title)
    for score in scores:
        add_row(table, score, measured(answers, truth, score))
    console.print(table)


def add_row(table: Table, score: float, found: Measured) -> None:
    """The row of one score."""
    table.add_row(f"{score}", f"{found.answers}", f"{found.right}", f"{found.precision:.3f}", f"{found.recall:.3f}")


@cache
def name_model() -> NameModel:
    """A real model of names."""
    return NameModel(model_directory(Path(tempfile.mkdtemp())))


Features = Callable[[Mapping[str, Any]], Counter[str]]


def described(topic: Mapping[str, Any]) -> Counter[str]:
    """The words of the description."""
    return Counter(words(topic["description"]))


def named_and_described(topic: Mapping[str, Any]) -> Counter[str]:
    """The words of name (twice) and description, the trigrams of the name and its letters by three and four."""
    letters = f"  {''.join(words(topic['name']))} "
    grams = Counter(f"\0{letters[at : at + n]}" for n in (3, 4) for at in range(len(letters) - n + 1))
    named = Counter(words(topic["name"])) + Counter(words(topic["name"]))
    return described(topic) + named + Counter(f"\1{gram}" for gram in trigrams(topic["name"])) + grams


def by_vectors(real: Sequence[Mapping[str, Any]], features: Features) -> dict[int, Answer]:
    """For each topic the one of the nearest vector: logarithmic counts times inverse document frequency, cosine."""
    counted = [features(topic) for topic in real]
    documents = Counter(feature for counts in counted for feature in counts)
    places = {feature: at for at, feature in enumerate(documents)}
    vectors = np.zeros((len(real), len(places)), dtype=np.float32)
    for row, counts in enumerate(counted):
        for feature, count in counts.items():
            rare = np.log((1 + len(real)) / (1 + documents[feature]))
            vectors[row, places[feature]] = (1 + np.log(count)) * rare
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    nearest = cosines.argmax(axis=1)
    return {
        topic["id"]: Answer(real[best]["id"], (1 + float(cosines[row, best])) / 2)
        for row, (topic, best) in enumerate(zip(real, nearest, strict=True))
    }


def many_names(total: int) -> list[str]:
    """The real names of `data/large`, then new ones of two to four of their words; always the same."""
    chance = random.Random(1)
    real = [row["name"] for row in rows("large", "topics")]
    vocabulary = [word for name in real for word in normalised(name).split()]
    names = dict.fromkeys(real[:total])
    while len(names) < total:
        names[" ".join(chance.choices(vocabulary, k=chance.randint(2, 4)))[:100]] = None
    return list(names)


def misspelled(name: str, chance: random.Random) -> str:
    """The name with one character left out and its case turned: never exact."""
    at = chance.randrange(len(name))
    return (name[:at] + name[at + 1 :]).swapcase() or "?"


def print_times(engine: sa.Engine, total: int, searches: int) -> None:
    """Median and 95th percentile of one search, both ways over the same names."""
    names, chance = many_names(total), random.Random(2)
    wanted = [misspelled(name, chance) for name in chance.sample(names, searches)]
    with engine.begin() as connection:
        topics.create(connection)
        connection.execute(sa.text("CREATE TABLE atoms (id bigint, title text, content text)"))
        connection.execute(topics.insert(), [{"name": name, "description": ""} for name in names])
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE topics"))
    in_memory = time_searches(engine, wanted)
    by_name = [misspelled(name[::-1], chance) for name in chance.sample(names, searches)]
    with_model = time_searches(engine, by_name, name_model())
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE INDEX names_by_trigram ON topics USING gin (name gin_trgm_ops)"))
    through_pg_trgm = time_searches(engine, wanted)
    table = Table(
        "search", "first refresh s", "median ms", "p95 ms", "worst ms", "found", title=f"{len(names):,} names"
    )
    for title, (refresh, times, found) in (
        ("in memory", in_memory),
        ("in memory, then meaning", with_model),
        ("pg_trgm", through_pg_trgm),
    ):
        median, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        table.add_row(title, f"{refresh:.2f}", f"{median:.1f}", f"{p95:.1f}", f"{max(times):.1f}", f"{found}")
    console.print(table)


def time_searches(
    engine: sa.Engine, wanted: Sequence[str], model: NameModel | None = None
) -> tuple[float, list[float], int]:
    """Seconds of the first refresh, milliseconds of each search of one name, and how many found a topic."""
    finder, times, found = DuplicateFinder(DuplicateOptions(full_refresh_seconds=3_600), model=model), list[float](), 0
    with engine.connect() as connection:
        began = time.perf_counter()
        finder.refresh(connection)
        refresh = time.perf_counter() - began
        for name in wanted:
            began = time.perf_counter()
            found += finder.similar(connection, TOPIC, [Candidate(name, "")])[0] is not None
            times.append(1_000 * (time.perf_counter() - began))
    return refresh, times, found


if __name__ == "__main__":
    main()
