"""The shipped score reaches what docs/benchmarks.md says it reaches, on topics that their sources declare to be the same."""

from pathlib import Path

import pytest

from knowledge_migration.knowledge.duplicates.model import DuplicateOptions
from knowledge_migration.knowledge.duplicates.name_model import NameModel
from knowledge_migration_tests.knowledge.duplicates.gold import (
    GOLD,
    Measured,
    by_meaning,
    by_spelling,
    hybrid,
    measured,
    rows,
    twins,
)
from knowledge_migration_tests.knowledge.duplicates.semantic import model_directory

BENCHMARKS = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text("utf-8")

pytestmark = pytest.mark.skipif(not GOLD.exists(), reason=f"needs {GOLD}")


def stated(tier: str) -> list[str]:
    """The row of that tier in docs/benchmarks.md."""
    [line] = [line for line in BENCHMARKS.splitlines() if line.startswith(f"| {tier} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def cells(score: str, found: Measured) -> list[str]:
    """The same row as it was measured now."""
    return [score, f"{found.answers}", f"{found.right}", f"{found.precision:.3f}", f"{found.recall:.3f}"]


def test_spelling_keeps_the_precision_and_recall_that_are_stated() -> None:
    score = DuplicateOptions().topic_spelling_from
    found = measured(by_spelling(rows("small", "topics"), score_from=score), twins(), score)
    assert stated("spelling, default") == cells(f"{score:.2f}", found)
    assert (found.precision, found.recall) >= (0.78, 0.26)
    assert found.with_twin == 851


def test_spelling_and_then_meaning_keep_the_precision_and_recall_that_are_stated(tmp_path: Path) -> None:
    options, topics = DuplicateOptions(), rows("small", "topics")
    spelled = by_spelling(topics, score_from=options.topic_spelling_from)
    spelled = {id: answer for id, answer in spelled.items() if answer.score >= options.topic_spelling_from}
    meant = by_meaning(topics, NameModel(model_directory(tmp_path)))
    found = measured(hybrid(spelled, meant, options.topic_meaning_from), twins(), 0)
    assert (found.precision >= 0.65, found.recall >= 0.45) == (True, True)
    scores = f"{options.topic_spelling_from:.2f}, {options.topic_meaning_from:.3f}"
    assert stated("spelling, then meaning of the name, default") == cells(scores, found)
