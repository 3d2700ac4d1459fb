"""The criteria of the strategy about the review page, judged by the page itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.engine.validation.criteria.judges import review_page
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration_tests.engine.status.reading import RULES
from knowledge_migration_tests.pages.living import REVIEWER_TOKEN, TOKENS, Living, living


@pytest.fixture
def served(expanded: Database, tmp_path: Path) -> Iterator[Living]:
    """The service with tokens."""
    with living(expanded, tmp_path, **TOKENS) as started:
        yield started


def test_the_page_is_for_a_person_to_judge_and_a_sign_in_is_no_page(served: Living) -> None:
    with served.database.connect("test") as connection:
        with_token = Facts(served.database, connection, RULES)
        with_token.service = ServiceAddress(served.url, REVIEWER_TOKEN)
        without = Facts(served.database, connection, RULES)
        without.service = ServiceAddress(served.url)

        assert review_page(with_token).verdict == "for a person"
        refused = review_page(without)
        assert (refused.verdict, "redirects to /sign-in" in refused.message) == ("not met", True)
