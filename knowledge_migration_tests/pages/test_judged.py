"""The criteria of the strategy about the review page, judged by the page itself."""

from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.engine.validation.criteria.judges import review_page
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration.settings import Settings
from knowledge_migration_tests.pages.living import REVIEWER_TOKEN, Living


def test_the_page_is_for_a_person_to_judge_and_a_sign_in_is_no_page(pages_service: Living) -> None:
    served = pages_service
    with served.database.connect("test") as connection:
        with_token = Facts(served.database, connection, Settings())
        with_token.service = ServiceAddress(served.url, REVIEWER_TOKEN)
        without = Facts(served.database, connection, Settings())
        without.service = ServiceAddress(served.url)

        assert review_page(with_token).verdict == "for a person"
        refused = review_page(without)
        assert (refused.verdict, "redirects to /sign-in" in refused.message) == ("not met", True)
