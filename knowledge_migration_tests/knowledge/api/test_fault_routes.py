"""Fault injection: only if enabled, only for admins, without writes, and counted as failures."""

from functools import partial
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge import metrics
from knowledge_migration.knowledge.faults import Faults, InjectedFaultError
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.knowledge.api.conftest import ADMIN, REVIEWER, TOKENS, Talk, problem, showing
from knowledge_migration_tests.knowledge.conftest import FakeExtractor
from knowledge_migration_tests.serving import serving

ALWAYS = {"mode": "proposal", "share": 1.0, "seconds": 30}


def failed_extractions() -> float | None:
    """The number of failed extractions in proposal mode in the metrics of this process."""
    labels = {"mode": "proposal", "outcome": "failed"}
    return metrics.registry.get_sample_value("knowledge_extraction_duration_seconds_count", labels)


def test_without_the_option_the_route_does_not_exist(talk: Talk) -> None:
    with talk(**TOKENS) as api:
        problem(api.post("/admin/faults", json=ALWAYS, headers=showing(ADMIN)), 404)
        problem(api.get("/admin/faults", headers=showing(ADMIN)), 404)
        problem(api.ask("DELETE", "/admin/faults", headers=showing(ADMIN)), 404)


def test_faults_are_for_admins_and_not_in_the_openapi_document(talk: Talk) -> None:
    with talk(allow_faults=True, **TOKENS) as api:
        for ask in (lambda **given: api.post("/admin/faults", json=ALWAYS, **given), partial(api.get, "/admin/faults")):
            problem(ask(headers=showing(REVIEWER)), 403)
            problem(ask(), 401)
        problem(api.ask("DELETE", "/admin/faults", headers=showing(REVIEWER)), 403)
        assert "faults" not in api.get("/openapi.json").text


REFUSED = [{"share": -0.1}, {"share": 1.1}, {"seconds": 0}, {"seconds": 600.1}, {"mode": "backfill"}, {"more": 1}]
TAKEN = [{"share": 0}, {"share": 1}, {"seconds": 600}, {"seconds": 0.1}, {"mode": "direct"}, {"mode": "dual_write"}]


@pytest.mark.parametrize(("change", "status"), [(one, 422) for one in REFUSED] + [(one, 200) for one in TAKEN])
def test_only_valid_faults_are_accepted(talk: Talk, change: dict[str, Any], status: int) -> None:
    with talk(allow_faults=True) as api:
        assert api.post("/admin/faults", json={**ALWAYS, **change}).status_code == status


def test_a_share_of_one_mode_fails_before_anything_is_written_and_other_modes_do_not(
    peopled: Database, rows: Connection
) -> None:
    before = failed_extractions()
    flags, extractor = Flags(enabled=True, dual_write=True, admin_user_ids=(1,)), FakeExtractor()
    with serving(peopled, extractor, initial_flags=flags, allow_faults=True, measurement_seconds=600) as url:
        httpx.post(f"{url}/api/v1/admin/faults", json=ALWAYS).raise_for_status()
        now = httpx.get(f"{url}/api/v1/admin/faults").json()
        assert (now["mode"], now["share"]) == ("proposal", 1.0)
        assert 0 < now["seconds"] <= 30
        extract = {user: {"message_ids": [user], "user_id": user} for user in (1, 2)}
        failed = httpx.post(f"{url}/api/v1/knowledge/extract", json=extract[1])
        assert (failed.status_code, failed.json()["title"]) == (500, "Injected fault")
        assert failed.json()["detail"].startswith("Injected fault")
        assert httpx.post(f"{url}/api/v1/knowledge/extract", json=extract[2]).status_code == 200
        assert extractor.asked == [(2,)]
        assert (failed_extractions() or 0) - (before or 0) == 1
        assert httpx.delete(f"{url}/api/v1/admin/faults").status_code == 204
        assert set(httpx.get(f"{url}/api/v1/admin/faults").json().values()) == {None}
        assert httpx.post(f"{url}/api/v1/knowledge/extract", json=extract[1]).status_code == 200
    failures = "SELECT count(*) FROM knowledge_extraction_runs WHERE status = 'failed' AND error_message LIKE 'Injected fault%'"
    assert count(rows, failures) == 1
    errors = (
        "SELECT sum(errors) FROM migration.service_measurement WHERE operation = 'extraction' AND mode = 'proposal'"
    )
    assert count(rows, errors) == 1


def test_a_fault_ends_automatically_and_affects_about_its_share() -> None:
    moment = 0.0
    faults = Faults(clock=lambda: moment)
    faults.begin("proposal", 0.2, 5)
    hits = 0
    for _ in range(1_000):
        try:
            faults.raise_perhaps("proposal")
        except InjectedFaultError:
            hits += 1
    assert 150 < hits < 250
    faults.raise_perhaps("dual_write")
    moment = 5.0
    faults.begin("proposal", 1.0, 5)
    moment = 10.0
    faults.raise_perhaps("proposal")
    assert faults.active is None
