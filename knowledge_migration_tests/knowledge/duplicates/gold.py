"""Pairs of real topics that their sources declare to be one thing, and how much of them a search finds.

Each topic in turn is the candidate and all others exist. A search answers with one topic or none: precision is the
share of answers that are declared to be the same, recall the share of the topics with a twin that get one of theirs.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from knowledge_migration.knowledge.duplicates.name_index import HeldName, NameIndex
from knowledge_migration.knowledge.duplicates.name_model import NameModel
from knowledge_migration.knowledge.duplicates.names import Spelling, normalised
from knowledge_migration_tests.conftest import SHARED_DATA

GOLD = SHARED_DATA / "small" / "gold_same_topic.jsonl.gz"


@dataclass(frozen=True)
class Answer:
    """What a search says to one topic."""

    id: int
    score: float


@dataclass(frozen=True)
class Measured:
    """How good the answers are that reach a score."""

    answers: int
    right: int
    with_twin: int

    @property
    def precision(self) -> float:
        return self.right / self.answers if self.answers else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.with_twin


def rows(size: str, table: str) -> list[dict[str, Any]]:
    """A table of the shared data."""
    with gzip.open(SHARED_DATA / size / f"{table}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def twins() -> dict[int, frozenset[int]]:
    """For each topic that is declared to be the same as others, all of those, by way of others too."""
    groups: dict[int, frozenset[int]] = {}
    for pair in rows("small", "gold_same_topic"):
        one, other = pair["topic_id"], pair["canonical_topic_id"]
        joined = groups.get(one, frozenset({one})) | groups.get(other, frozenset({other}))
        groups.update(dict.fromkeys(joined, joined))
    return {id: group - {id} for id, group in groups.items()}


def by_meaning(topics: Sequence[Mapping[str, Any]], model: NameModel) -> dict[int, Answer]:
    """For each topic the other one whose name means the most similar thing."""
    vectors = np.stack([model.embed(normalised(topic["name"])) for topic in topics])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    nearest = cosines.argmax(axis=1)
    return {
        topic["id"]: Answer(topics[best]["id"], (1 + float(cosines[row, best])) / 2)
        for row, (topic, best) in enumerate(zip(topics, nearest, strict=True))
    }


def hybrid(spelled: Mapping[int, Answer], meant: Mapping[int, Answer], meaning_from: float) -> dict[int, Answer]:
    """As `DuplicateFinder` decides: spelling, and only where that finds nothing, meaning."""
    return {**{id: answer for id, answer in meant.items() if answer.score >= meaning_from}, **spelled}


def measured(answers: Mapping[int, Answer], truth: Mapping[int, frozenset[int]], score_from: float) -> Measured:
    """The quality of the answers from a score on."""
    given = {id: answer.id for id, answer in answers.items() if answer.score >= score_from}
    right = sum(found in truth.get(id, ()) for id, found in given.items())
    return Measured(len(given), right, len(truth))


def by_spelling(topics: Sequence[Mapping[str, Any]], *, score_from: float) -> dict[int, Answer]:
    """For each topic the other one that is spelled most alike, as `SpellingSearch` decides it."""
    index = NameIndex({}).with_rows(HeldName(topic["id"], topic["name"], 0) for topic in topics)
    spellings = {topic["id"]: Spelling(topic["name"]) for topic in topics}
    answers = {}
    for id, spelling in spellings.items():
        found = index.search(spelling, score_from=score_from, most=6)
        scored = [(spelling.score(spellings[other]), -other) for other in found if other != id]
        if scored:
            score, negative = max(scored)
            answers[id] = Answer(-negative, score)
    return answers
