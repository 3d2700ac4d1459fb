"""The criteria of the strategy (§11.1 and all lists): none is met for lack of data, and only a person confirms for a person."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from knowledge_migration.engine.cutover.readiness import CheckRecord
from knowledge_migration.engine.foundation import evidence, inventory
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.validation.criteria.checklist import CHECKLIST, SECTIONS
from knowledge_migration.engine.validation.criteria.evaluation import EVIDENCE, confirm, evaluate, record
from knowledge_migration.engine.validation.criteria.facts import Facts, Judgement
from knowledge_migration.engine.validation.service import ServiceAddress
from knowledge_migration.settings import Settings
from knowledge_migration_tests.conftest import SHARED_DATA
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill

RULES = Settings()
STRATEGY = SHARED_DATA.parent / "seed" / "migration-strategy.md"


@pytest.fixture
def facts(expanded: Database) -> Iterator[Facts]:
    """An empty database after phase 1."""
    with expanded.connect("test") as connection:
        yield Facts(expanded, connection, RULES)


@pytest.fixture
def migrated(expanded: Database) -> Iterator[Facts]:
    """A database that is backfilled."""
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        yield Facts(expanded, connection, RULES)


def judged(facts: Facts) -> dict[str, Judgement]:
    """Every judgement by its criterion's name."""
    return {one.criterion.key: one.judgement for one in evaluate(facts)}


def keep(facts: Facts, kind: str, content: dict[str, Any]) -> None:
    """One piece of evidence."""
    evidence.record(facts.connection, kind, content)


def verdict_of(connection: Connection, metric: str, verdict: str, *, stage: str = "full_cutover") -> None:
    """One verdict of a gate."""
    connection.execute(
        "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value, threshold, sample_size) "
        "VALUES (%s, %s, %s, 0.5, 1, 400)",
        (stage, metric, verdict),
    )


@pytest.mark.skipif(not STRATEGY.exists(), reason="needs the strategy")
def test_every_checkbox_of_the_strategy_is_a_criterion_in_its_order() -> None:
    boxes = [box.replace("`", "") for box in re.findall(r"^- \[ \] (.+)$", STRATEGY.read_text(), flags=re.M)]
    assert [criterion.text for criterion in CHECKLIST] == boxes


def test_names_are_unique_and_sections_in_order() -> None:
    assert len({criterion.key for criterion in CHECKLIST}) == len(CHECKLIST)
    assert list(dict.fromkeys(criterion.section for criterion in CHECKLIST)) == list(SECTIONS)


def test_before_the_first_phase_no_criterion_has_evidence(database: Database) -> None:
    with database.connect("test") as connection:
        verdicts = {one.judgement.verdict for one in evaluate(Facts(database, connection, RULES))}
    assert verdicts == {"no evidence yet"}


def test_an_empty_database_has_evidence_for_its_schema_only(facts: Facts) -> None:
    met = {name for name, found in judged(facts).items() if found.verdict == "met"}
    assert met == {"tables", "indexes"}


def test_a_missing_index_is_not_met(facts: Facts) -> None:
    facts.connection.execute("DROP INDEX public.idx_topic_proposals_created")
    found = judged(facts)["indexes"]
    assert found.verdict == "not met"
    assert "idx_topic_proposals_created" in found.message


def test_rules_are_evaluated_now(migrated: Facts) -> None:
    asked = ("topics_linked", "atoms_linked", "backfilled_approved", "no_orphans", "backfill_errors")
    before = judged(migrated)
    assert {before[name].verdict for name in asked} == {"met"}
    migrated.connection.execute(
        "UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL WHERE id = 5"
    )
    after = judged(Facts(migrated.database, migrated.connection, RULES))
    assert (after["atoms_linked"].verdict, after["topics_linked"].verdict) == ("not met", "met")


@pytest.mark.parametrize(
    ("verdict", "shown"), [("pass", "met"), ("fail", "not met"), ("inconclusive", "no evidence yet")]
)
def test_a_gate_is_met_only_if_it_passed(facts: Facts, verdict: str, shown: str) -> None:
    verdict_of(facts.connection, "api_error_rate", verdict)
    found = judged(facts)["api_errors"]
    assert (found.verdict, found.source) == (shown, "gate api_error_rate")
    assert "sample 400" in found.message


def test_the_last_verdict_counts_and_the_guards_do_not(facts: Facts) -> None:
    verdict_of(facts.connection, "extraction_slowdown", "fail", stage="internal_beta")
    verdict_of(facts.connection, "extraction_slowdown", "pass", stage="full_cutover")
    verdict_of(facts.connection, "extraction_slowdown", "fail", stage="guard of full_cutover")
    assert judged(facts)["extraction_speed"].verdict == "met"


@pytest.mark.parametrize(
    ("verdict", "shown"), [("pass", "met"), ("fail", "not met"), ("inconclusive", "no evidence yet")]
)
def test_a_scenario_gives_its_verdict_and_message(facts: Facts, verdict: str, shown: str) -> None:
    scenario = {"name": "duplicates_are_flagged", "verdict": verdict, "message": "result", "seconds": 1}
    keep(facts, "functional_validation", {"scenarios": [scenario], "passed": False})
    found = judged(facts)
    assert (found["duplicates_flagged"].verdict, found["duplicates_flagged"].message) == (shown, "result")
    assert found["manual_approval"].verdict == "no evidence yet"


def test_a_check_counts_by_its_latest_evaluation(facts: Facts) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for succeeded, shown in ((True, "met"), (False, "not met")):
        facts.checks = {"dual_write_is_not_slow": CheckRecord("dual_write_is_not_slow", succeeded, at, "1.01")}
        found = judged(facts)["dual_write_speed"]
        assert (found.verdict, found.at) == (shown, at)
    for unseen in (
        CheckRecord("dual_write_is_not_slow", False, None),
        CheckRecord("dual_write_is_not_slow", False, at, "Not asked", warns=True),
    ):
        facts.checks = {"dual_write_is_not_slow": unseen}
        assert judged(facts)["dual_write_speed"].verdict == "no evidence yet"


@pytest.mark.parametrize(("passed", "shown"), [(True, "met"), (False, "not met")])
def test_a_drill_counts_while_it_is_fresh(facts: Facts, passed: bool, shown: str) -> None:
    path = {
        "path": "instant",
        "seconds": 0.1,
        "passed": passed,
        "equal": passed,
        "differences": "" if passed else "topics 0..9",
    }
    keep(facts, "rollback_drill", {"paths": [path], "phases": [], "passed": passed})
    found = judged(facts)
    names = ("rollbacks", "knowledge_accessible", "rollback_loses_nothing")
    assert {found[name].verdict for name in names} == {shown}
    facts.connection.execute("UPDATE migration.evidence SET recorded_at = now() - interval '8 days'")
    assert judged(facts)["rollbacks"].verdict == "no evidence yet"


def test_rows_that_are_gone_are_for_a_person(migrated: Facts) -> None:
    keep(migrated, "data_inventory", inventory.read(migrated.connection).to_evidence())
    assert judged(migrated)["no_data_loss"].verdict == "met"
    migrated.connection.execute(
        "INSERT INTO atoms (type, title, content, user_approved) VALUES ('fact', 'new', '', false)"
    )
    migrated.connection.execute("DELETE FROM topic_atoms WHERE atom_id IN (3, 4)")
    migrated.connection.execute("DELETE FROM atoms WHERE id IN (3, 4)")
    found = judged(migrated)["no_data_loss"]
    assert found.verdict == "for a person"
    assert "Did users delete 2?" in found.message


def test_a_service_that_does_not_answer_is_not_met(facts: Facts) -> None:
    facts.service = ServiceAddress("http://127.0.0.1:1")
    found = judged(facts)
    assert (found["api_health"].verdict, found["review_page"].verdict) == ("not met", "not met")


def test_a_person_confirms_and_withdraws(facts: Facts) -> None:
    confirm(facts.database, "feedback", reason="asked five reviewers")
    found = judged(facts)["feedback"]
    assert found.verdict == "met"
    assert "asked five reviewers" in found.message
    confirm(facts.database, "feedback", reason="asked again", withdrawn=True)
    assert judged(facts)["feedback"].verdict == "for a person"
    actions = facts.connection.execute("SELECT action, subject, reason FROM migration.audit_log ORDER BY id").fetchall()
    assert [tuple(row.values()) for row in actions] == [
        ("confirm a criterion", "feedback", "asked five reviewers"),
        ("withdraw a confirmation", "feedback", "asked again"),
    ]


def test_a_confirmation_overrules_no_measurement(facts: Facts) -> None:
    verdict_of(facts.connection, "api_error_rate", "fail")
    for name in ("api_errors", "list_speed"):
        confirm(facts.database, name, reason="it is fine")
    found = judged(facts)
    assert (found["api_errors"].verdict, found["list_speed"].verdict) == ("not met", "no evidence yet")


def test_a_confirmation_of_an_unknown_criterion_is_refused(facts: Facts) -> None:
    with pytest.raises(PreconditionError, match="no criterion feedbck"):
        confirm(facts.database, "feedbck", reason="yes")


def test_verdicts_are_recorded(facts: Facts) -> None:
    record(facts.connection, evaluate(facts))
    kept = evidence.latest(facts.connection, EVIDENCE)
    assert kept
    assert [row["name"] for row in kept.content["rows"]] == [criterion.key for criterion in CHECKLIST]
