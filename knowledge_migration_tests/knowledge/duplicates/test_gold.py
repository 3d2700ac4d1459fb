"""The shipped score reaches what `finder` says it reaches, on topics that their sources declare to be the same."""

import pytest

from knowledge_migration.knowledge.duplicates import finder
from knowledge_migration.knowledge.duplicates.options import DuplicateOptions
from knowledge_migration_tests.knowledge.duplicates.gold import GOLD, by_spelling, measured, rows, twins

pytestmark = pytest.mark.skipif(not GOLD.exists(), reason=f"needs {GOLD}")


def test_spelling_keeps_the_precision_and_recall_that_are_stated() -> None:
    score = DuplicateOptions().topic_spelling_from
    found = measured(by_spelling(rows("small", "topics"), score_from=score), twins(), score)
    stated = [line.split()[3:] for line in (finder.__doc__ or "").splitlines() if "spelling, as shipped" in line]
    assert stated == [
        [f"{score:.2f}", f"{found.answers}", f"{found.right}", f"{found.precision:.3f}", f"{found.recall:.3f}"]
    ]
    assert (found.precision, found.recall) >= (0.78, 0.26)
    assert found.with_twin == 851
