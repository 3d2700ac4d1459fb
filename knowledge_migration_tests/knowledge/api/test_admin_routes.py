"""The flags over HTTP, health, and metrics."""

import threading
from datetime import datetime

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.schema.steps import TARGET_REVISION
from knowledge_migration.engine.status.prometheus import MigrationCollector
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.status.reading import RULES
from knowledge_migration_tests.knowledge.api.conftest import ADMIN, TOKENS, Client, Talk, problem, showing, talking
from knowledge_migration_tests.knowledge.api.test_problems import away
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, ServiceMaker, atom, topic
from knowledge_migration_tests.knowledge.test_watching import change

STRATEGY_METRICS = {  # strategy §4.2
    "knowledge_proposal_created_total": ("counter", ("entity_type", "status")),
    "knowledge_proposal_creation_duration_seconds": ("histogram", ("entity_type",)),
}
OTHER_METRICS = {
    "knowledge_extraction_duration_seconds": "histogram",
    "knowledge_shadow_failures_total": "counter",
    "knowledge_reviews_total": "counter",
    "knowledge_review_queue_depth": "gauge",
    "knowledge_shadow_failures_open": "gauge",
    "knowledge_flag_version": "gauge",
    "knowledge_http_requests_total": "counter",
    "knowledge_http_errors_total": "counter",
    "knowledge_http_request_duration_seconds": "histogram",
}
FOUND = Extraction(topics=(topic("strong", 0.97), topic("weak", 0.5)), atoms=(atom("one", "strong", 0.5),))


def value(api: Client, sample: str) -> float:
    """The value of a sample, 0 if there is none yet; the registry is shared, so tests compare."""
    lines = [line for line in api.get("/metrics").text.splitlines() if line.startswith(f"{sample} ")]
    return float(lines[0].rpartition(" ")[2]) if lines else 0.0


def test_the_flags_have_the_names_of_the_strategy(talk: Talk) -> None:
    with talk(initial_flags=Flags(dual_write=True)) as api:
        now = api.get("/admin/config").json()
    assert (now["state"], now["problem"]) == ("dual_write", None)
    assert now["flags"] == {
        "knowledge_proposals_enabled": False,
        "knowledge_proposals_dual_write": True,
        "knowledge_proposals_cutover_percentage": 0,
        "knowledge_proposals_audience": "everyone",
        "knowledge_proposals_admin_user_ids": [],
        "knowledge_proposals_auto_approve_high_confidence": True,
        "knowledge_proposals_auto_approve_threshold": 0.95,
        "knowledge_proposals_legacy_paths_retired": False,
        "version": 0,
    }


def test_this_process_applies_a_change_immediately_and_the_audit_log_has_the_role(talk: Talk, rows: Connection) -> None:
    with talk(**TOKENS) as api:
        body = {"flags": {"knowledge_proposals_enabled": True, "cutover_percentage": 50}, "reason": "day two"}
        after = api.post("/admin/config", json=body, headers=showing(ADMIN)).json()
        assert (after["state"], after["flags"]["version"]) == ("rollout_without_dual_write", 1)
        assert api.get("/admin/config", headers=showing(ADMIN)).json() == after
        assert api.get("/health").json()["flag_version"] == 1
    (entry,) = rows.execute("SELECT actor, reason FROM migration.audit_log WHERE action = 'set flags'").fetchall()
    assert tuple(entry.values()) == ("admin API token", "day two")


def test_a_change_is_accepted_only_for_the_current_version(api: Client, rows: Connection) -> None:
    body = {"flags": {"dual_write": True}, "reason": "x", "expected_version": 0}
    assert api.post("/admin/config", json=body).status_code == 200
    problem(api.post("/admin/config", json={**body, "flags": {"enabled": True}}), 409)
    assert count(rows, "SELECT count(*) FROM migration.audit_log") == 1


def test_an_invalid_change_of_flags_is_refused(api: Client, rows: Connection) -> None:
    for body in (
        {"flags": {"dual_write": True}},
        {"flags": {"dual_write": True}, "reason": ""},
        {"flags": {"dual_write": True}, "reason": " "},
        {"flags": {"dual_write": True}, "reason": "a\x00b"},
        {"flags": {}, "reason": "x"},
        {"flags": {"version": 9}, "reason": "x"},
        {"flags": {"cutover_percentage": 101}, "reason": "x"},
        {"flags": {"dual_write": True}, "reason": "x", "expected_version": -1},
        {"flags": {"dual_write": True}, "reason": "x", "actor": "somebody else"},
    ):
        assert problem(api.post("/admin/config", json=body), 422)
    assert count(rows, "SELECT count(*) FROM feature_flags") == 0


def test_a_reload_reads_the_flags_of_another_process_without_a_notification(
    talk: Talk, peopled: Database, rows: Connection
) -> None:
    change(peopled, dual_write=True)
    with talk(flag_poll_seconds=3600) as api:
        rows.execute("""UPDATE feature_flags SET version = 2, config = '{"cutover_percentage": 7}'""")
        flags = api.post("/admin/config/reload").json()["flags"]
    assert (flags["version"], flags["knowledge_proposals_cutover_percentage"]) == (2, 7)


def test_config_and_health_report_an_invalid_row_and_the_last_known_flags_stay(
    talk: Talk, peopled: Database, rows: Connection
) -> None:
    change(peopled, dual_write=True)
    with talk() as api:
        rows.execute("UPDATE feature_flags SET config = '[1]'")
        result = api.post("/admin/config/reload").json()
        assert "--reset" in result["problem"]
        assert result["flags"]["knowledge_proposals_dual_write"] is True
        health = api.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert "--reset" in health.json()["flags_problem"]
        refused = api.post("/admin/config", json={"flags": {"enabled": True}, "reason": "x"})
        assert "--reset" in problem(refused, 422)


def test_before_phase_1_health_is_ok_without_a_migration(database: Database) -> None:
    with talking(KnowledgeService(ServiceOptions(database_url=database.url), FakeExtractor())) as api:
        answer = api.get("/health")
        result = answer.json()
        assert (answer.status_code, result["status"], result["database"], result["state"]) == (
            200,
            "ok",
            "reachable",
            "off",
        )
        unknown = ("flags_problem", "schema_revision", "backfill", "pending_proposals", "open_shadow_failures")
        assert [result[name] for name in unknown] == [None] * 5
        assert "knowledge_review_queue_depth NaN" in api.get("/metrics").text


def test_after_phase_1_health_reports_the_schema_and_the_pending_proposals(
    make_service: ServiceMaker, peopled: Database
) -> None:
    service = make_service(FOUND, initial_flags=Flags(enabled=True, cutover_percentage=100))
    service.collector = MigrationCollector(peopled, RULES)
    with talking(service) as api:
        api.post("/knowledge/extract", json={"message_ids": [1], "user_id": 1})
        result = api.get("/health").json()
    assert result["schema_revision"] == TARGET_REVISION
    assert (result["state"], result["pending_proposals"], result["open_shadow_failures"]) == ("full", 2, 0)


def test_with_an_unreachable_database_health_is_503_and_metrics_still_respond(
    talk: Talk, server: EmbeddedServer, peopled: Database
) -> None:
    change(peopled, dual_write=True)
    with talk() as api:
        with away(server, peopled):
            answer = api.get("/health")
            assert answer.status_code == 503
            result = answer.json()
            assert (result["status"], result["database"], result["state"]) == ("degraded", "unreachable", "dual_write")
            metrics = api.get("/metrics")
            assert metrics.status_code == 200
            assert "knowledge_review_queue_depth NaN" in metrics.text
            assert "knowledge_flag_version 1.0" in metrics.text
        assert api.post("/admin/config/reload").json()["problem"] is None
        assert api.get("/health").json()["status"] == "ok"


def test_metrics_have_the_names_and_labels_of_the_strategy(talk: Talk) -> None:
    with talk(FOUND, initial_flags=Flags(dual_write=True)) as api:
        api.post("/knowledge/extract", json={"message_ids": [1], "user_id": 1})
        answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    for name, (kind, labels) in STRATEGY_METRICS.items():
        assert f"# TYPE {name} {kind}" in answer.text
        sample = next(line for line in answer.text.splitlines() if line.startswith((f"{name}{{", f"{name}_count{{")))
        assert [part.partition("=")[0] for part in sample.partition("{")[2].split(",")] == list(labels)
    for name, kind in OTHER_METRICS.items():
        assert f"# TYPE {name} {kind}" in answer.text


def test_extractions_and_reviews_are_counted(talk: Talk) -> None:
    auto = 'knowledge_proposal_created_total{entity_type="topic",status="auto_approved"}'
    pending = 'knowledge_proposal_created_total{entity_type="topic",status="pending"}'
    atoms = 'knowledge_proposal_creation_duration_seconds_count{entity_type="atom"}'
    done = 'knowledge_extraction_duration_seconds_count{mode="proposal",outcome="completed"}'
    failed = 'knowledge_extraction_duration_seconds_count{mode="proposal",outcome="failed"}'
    rejected = 'knowledge_reviews_total{action="reject",entity_type="topic"}'
    counted = (auto, pending, atoms, done, failed, rejected)
    with talk(FOUND, initial_flags=Flags(enabled=True, cutover_percentage=100)) as api:
        before = [value(api, sample) for sample in counted]
        api.post("/knowledge/extract", json={"message_ids": [1], "user_id": 1})
        problem(api.post("/knowledge/extract", json={"message_ids": [9_999]}), 404)
        (weak,) = api.get("/knowledge/proposals?entity_type=topic").json()["items"]
        for _ in range(2):  # the second changes nothing, and is not counted
            assert api.post(f"/knowledge/proposals/{weak['id']}/reject").status_code == 200
        after = [value(api, sample) for sample in counted]
        assert value(api, "knowledge_review_queue_depth") == 1
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1, 1, 1, 1]


def test_requests_are_counted_by_route_and_never_by_path_or_invented_method(api: Client) -> None:
    for number in range(3):
        api.get(f"/topics/{7_000 + number}")
        api.get(f"/nowhere/{7_000 + number}")
        api.ask(f"BREW{number}", "/topics")
    text = api.get("/metrics").text
    assert "/7000" not in text
    assert "BREW" not in text
    assert 'method="other"' in text
    assert '{topic_id}",status="404"}' in text


def test_times_of_rows_have_a_zone(api: Client) -> None:
    made = api.post("/topics", json={"name": "n", "description": ""}).json()
    assert datetime.fromisoformat(made["created_at"]).tzinfo is not None


def test_an_admin_can_roll_back_over_the_api_and_stranded_proposals_are_settled(talk: Talk, rows: Connection) -> None:
    flags = Flags(enabled=True, dual_write=True, cutover_percentage=100, auto_approve_high_confidence=False)
    with talk(Extraction(topics=(topic("sure", 0.9), topic("unsure", 0.4))), initial_flags=flags, **TOKENS) as api:
        stored = {"flags": {"enabled": True, "cutover_percentage": 100}, "reason": "stored"}
        api.post("/admin/config", json=stored, headers=showing(ADMIN)).raise_for_status()
        api.post(
            "/knowledge/extract", json={"message_ids": [1], "user_id": 1}, headers=showing(ADMIN)
        ).raise_for_status()
        result = api.post(
            "/admin/rollback", json={"kind": "instant", "reason": "errors"}, headers=showing(ADMIN)
        ).json()
        assert (result["state"], result["stranded"]) == ("dual_write", 2)
        pause = threading.Event()
        waiting = "SELECT count(*) AS n FROM topic_proposals WHERE status = 'pending'"
        for _ in range(500):
            if rows.execute(waiting).fetchone() == {"n": 0}:
                break
            pause.wait(0.02)
    decided = rows.execute("SELECT name, status, review_action FROM topic_proposals ORDER BY name").fetchall()
    assert [tuple(row.values()) for row in decided] == [
        ("sure", "auto_approved", "replay"),
        ("unsure", "parked", "park"),
    ]
    actions = rows.execute("SELECT action, actor FROM migration.audit_log WHERE action = 'rollback instant'").fetchall()
    assert [tuple(row.values()) for row in actions] == [("rollback instant", "admin API token")]
