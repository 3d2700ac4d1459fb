"""The route for an application that has extracted by itself."""

import json
import re
from pathlib import Path
from typing import Any

from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.knowledge.api.conftest import Client, Talk, problem
from knowledge_migration_tests.knowledge.conftest import FOUND
from knowledge_migration_tests.support.flags import DUAL, PROPOSAL

PAGE = Path(__file__).parents[3] / "docs" / "integrate.md"
GIVEN: dict[str, Any] = {**FOUND.model_dump(mode="json"), "message_ids": [1, 2, 3], "user_id": 1}
ROUTE = "/knowledge/extractions"


def test_a_given_extraction_is_written_in_the_mode_of_the_flags(talk: Talk, rows: Connection) -> None:
    with talk(initial_flags=DUAL, shadow_timeout_ms=30_000) as api:
        written = api.post(ROUTE, json={**GIVEN, "extractor": "theirs", "extraction_seconds": 3.5}).json()
    assert (written["mode"], len(written["topic_ids"]), len(written["atom_ids"])) == ("dual_write", 2, 2)
    assert (len(written["topic_proposal_ids"]), len(written["atom_proposal_ids"])) == (3, 4)
    assert count(rows, "SELECT count(*) FROM atoms WHERE migrated_from_proposal_id IS NULL") == 0
    [run] = rows.execute("SELECT id, settings ->> 'extractor' AS extractor FROM knowledge_extraction_runs").fetchall()
    assert (str(run["id"]), run["extractor"]) == (written["run_id"], "theirs")


def test_a_full_queue_refuses_no_given_extraction(talk: Talk) -> None:
    with talk(initial_flags=PROPOSAL, queue_limit=1) as api:
        assert [api.post(ROUTE, json=GIVEN).status_code for _ in range(3)] == [200] * 3


def test_a_given_extraction_that_cannot_be_written_writes_nothing(api: Client, rows: Connection) -> None:
    assert "no user 99" in problem(api.post(ROUTE, json={**GIVEN, "user_id": 99}), 404)
    unsure = [{**GIVEN["topics"][0], "confidence": 7}]
    assert problem(api.post(ROUTE, json={**GIVEN, "topics": unsure}), 422)
    assert count(rows, "SELECT count(*) FROM topics") == 0


def test_the_request_of_the_documentation_is_answered(api: Client) -> None:
    (body,) = re.findall(r"/knowledge/extractions .*?-d '(.*?)'", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(api.post(ROUTE, json=json.loads(body)).json()["topic_ids"]) == 1
