"""The shipped score reaches what docs/benchmarks.md says it reaches, on topics that their sources declare to be the same."""

from pathlib import Path

import pytest

from knowledge_migration.knowledge.duplicates.model import DuplicateOptions
from knowledge_migration_tests.knowledge.duplicates.gold import GOLD, by_spelling, measured, rows, twins

BENCHMARKS = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text("utf-8")

pytestmark = pytest.mark.skipif(not GOLD.exists(), reason=f"needs {GOLD}")


def test_spelling_keeps_the_precision_and_recall_that_are_stated() -> None:
    score = DuplicateOptions().topic_spelling_from
    found = measured(by_spelling(rows("small", "topics"), score_from=score), twins(), score)
    stated = [
        [cell.strip() for cell in line.split("|")[2:-1]]
        for line in BENCHMARKS.splitlines()
        if "spelling, default" in line
    ]
    assert stated == [
        [f"{score:.2f}", f"{found.answers}", f"{found.right}", f"{found.precision:.3f}", f"{found.recall:.3f}"]
    ]
    assert (found.precision, found.recall) >= (0.78, 0.26)
    assert found.with_twin == 851
