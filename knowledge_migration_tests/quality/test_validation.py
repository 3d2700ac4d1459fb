"""Validations of real databases with Great Expectations: what is found, what is refused, what the documents hold."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy.engine import make_url

from knowledge_migration.defs.quality import quality_job
from knowledge_migration.demo.loader import load
from knowledge_migration.engine.backfill import completion, plan, runner
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.quality.adapter import UnansweredError
from knowledge_migration.quality.expectations import SEVERITIES
from knowledge_migration.quality.suites import BLUEPRINTS
from knowledge_migration.quality.validation import Validation, validate
from knowledge_migration.settings import BackfillSettings, QualitySettings, SchemaChangeSettings, Settings
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, SHARED_DATA, clone, drop
from knowledge_migration_tests.quality.violations import BROKEN, EVERYTHING
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.json_lines import JsonLinesFolder

PASSWORD = "correct-horse-battery-staple"
SUITES = [blueprint.name for blueprint in BLUEPRINTS]
TABLES_OF_PHASE_1 = ["topic_proposals", "atom_proposals", "extraction_runs"]


def with_password(database: Database) -> Database:
    """The same database; the embedded server asks for no password and takes any."""
    return Database(make_url(database.url).set(password=PASSWORD).render_as_string(hide_password=False))


def written(validation: Validation) -> dict[str, str]:
    """Every file of the documents with its text."""
    folder = validation.index.parent
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text(encoding="utf-8") for file in files}


@pytest.fixture(scope="module")
def dirty(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Validation]]:
    """A database with every violation, validated once through an address with a password."""
    database = clone(server, EXPANDED_TEMPLATE)
    with database.connect("test") as connection:
        connection.execute(EVERYTHING)
    directory = tmp_path_factory.mktemp("quality") / "data_docs"
    yield database, validate(with_password(database), directory, Settings(), dagster_run_id="0123456789")
    drop(server, database)


@pytest.mark.parametrize("suite", SUITES)
def test_each_kind_of_violation_is_found_with_its_exact_count(suite: str, dirty: tuple[Database, Validation]) -> None:
    (outcome,) = (one for one in dirty[1].suites if one.suite.name == suite)

    assert {expectation.rule: one.count for expectation, one in outcome.failed} == BROKEN[suite]


def test_the_most_severe_is_first_and_a_sample_names_the_rows(dirty: tuple[Database, Validation]) -> None:
    links = next(one for one in dirty[1].suites if one.suite.name == "atom_links")
    by_rule = {expectation.rule: one for expectation, one in links.failed}

    assert [SEVERITIES.index(expectation.severity) for expectation, _ in links.failed] == [0, 0, 0, 1, 1, 1]
    assert links.worst == "critical"
    assert by_rule["each to_atom_id names a row of atoms"].sample == ({"from_atom_id": "1", "to_atom_id": "99"},)
    assert by_rule["strength is between 0 and 1"].sample == ({"strength": "2.0"},)
    assert all(one.remedy for suite in dirty[1].suites for _, one in suite.failed)


def test_what_the_quality_report_accepts_is_never_critical(dirty: tuple[Database, Validation]) -> None:
    atoms = next(one for one in dirty[1].suites if one.suite.name == "atoms")

    assert len(atoms.failed) == 5
    assert (atoms.critical, atoms.passed, atoms.worst) == (0, True, "warning")
    assert not dirty[1].passed


def test_the_evidence_says_what_was_found_and_where_the_document_is(dirty: tuple[Database, Validation]) -> None:
    database, validation = dirty
    with database.connect("test") as connection:
        found = evidence.latest(connection, "quality_validation")

    assert found
    assert set(found.content) == {"suites", "passed", "data_docs"}
    assert found.content["passed"] is False
    assert found.content["data_docs"] == str(validation.index)
    assert [one["suite"] for one in found.content["suites"]] == SUITES
    assert set(found.content["suites"][0]) == {
        "suite", "table", "expectations", "failed", "critical", "seconds", "passed",
    }  # fmt: skip


def test_the_documents_list_the_suites_open_without_a_network_and_hold_no_password(
    dirty: tuple[Database, Validation],
) -> None:
    database, validation = dirty
    files = written(validation)
    first = files.pop("index.html")

    assert validation.index.parent.name.endswith("Z-01234567")
    assert len(files) == 2 * len(SUITES)
    for outcome in validation.suites:
        assert outcome.page in files
        assert f'href="{outcome.page}"' in first
    assert "not to be signed off" in first
    for name, text in {**files, "index.html": first}.items():
        assert PASSWORD not in text, name
        assert "Content-Security-Policy\" content=\"default-src 'none'" in text, name
        assert "<script" not in text, name
        assert "<link" not in text, name
        assert "http://" not in text, name
        assert "https://" not in text, name
    with database.connect("test") as connection:
        kept = connection.execute("SELECT string_agg(content::text, '') AS words FROM migration.evidence").fetchone()
    assert kept
    assert PASSWORD not in kept["words"]


def one_expectation(type_: str, severity: str = "critical", table: str = "topics", **kwargs: Any) -> str:
    """A suite of the user's with one expectation."""
    return json.dumps({"table": table, "expectations": [{"type": type_, "kwargs": kwargs, "severity": severity}]})


def validated_with(database: Database, folder: Path, suite: str, **options: Any) -> Validation:
    """A validation with one suite of the user's, `mine.json`."""
    (folder / "suites").mkdir(exist_ok=True)
    (folder / "suites" / "mine.json").write_text(suite, encoding="utf-8")
    quality = QualitySettings(suites=folder / "suites", **options)
    return validate(database, folder / "docs", Settings(quality=quality))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT nope FROM {batch}", 'column "nope" does not exist'),
        ("SELECT nextval('topics_id_seq') AS n FROM {batch}", "read-only transaction"),
        ("SELECT pg_sleep(9) FROM {batch}", "statement timeout"),
    ],
)
def test_an_error_of_a_statement_is_raised_and_is_no_finding(
    query: str, words: str, expanded: Database, tmp_path: Path
) -> None:
    with expanded.connect("test") as connection:
        connection.execute("INSERT INTO topics (name, description) VALUES ('a topic', 'd')")
    suite = one_expectation("unexpected_rows_expectation", unexpected_rows_query=query)

    with pytest.raises(UnansweredError, match=r"mine\.json.*public\.topics") as raised:
        validated_with(with_password(expanded), tmp_path, suite, statement_timeout_seconds=1)

    assert words in str(raised.value)
    assert PASSWORD not in str(raised.value)
    assert list((tmp_path / "docs").iterdir()) == []
    with expanded.connect("test") as connection:
        assert evidence.latest(connection, "quality_validation") is None


def test_a_column_that_is_missing_is_an_error_that_names_suite_expectation_and_table(
    expanded: Database, tmp_path: Path
) -> None:
    with expanded.connect("test") as connection:
        connection.execute("ALTER TABLE topics DROP COLUMN icon")

    with pytest.raises(UnansweredError, match=r"icon.* of suite topics .* on table public\.topics"):
        validate(expanded, tmp_path, Settings())


def test_suites_of_the_user_are_validated_beside_those_of_the_project(expanded: Database, tmp_path: Path) -> None:
    with expanded.connect("test") as connection:
        connection.execute("INSERT INTO topics (name, description) VALUES ('short', 'd'), ('much too long', 'd')")
    suite = one_expectation("expect_column_value_lengths_to_be_between", "info", column="name", max_value=5)

    validation = validated_with(expanded, tmp_path, suite)

    (mine,) = validation.yours
    ((_, broken),) = mine.failed
    assert (mine.suite.name, mine.worst, mine.passed) == ("mine", "info", True)
    assert (broken.count, broken.sample) == (1, ({"name": "much too long"},))
    assert validation.passed
    assert 'href="validations/mine/' in validation.index.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        (one_expectation("expect_wonders", column="name"), "expect_wonders"),
        (one_expectation("expect_column_values_to_be_unique", colum="name"), "expect_column_values_to_be_unique"),
        (one_expectation("expect_column_values_to_be_unique", table="nowhere", column="id"), "no table public.nowhere"),
    ],
)
def test_a_suite_of_the_user_that_cannot_be_used_stops_the_validation_and_is_named(
    suite: str, words: str, expanded: Database, tmp_path: Path
) -> None:
    with pytest.raises(PreconditionError, match=r"mine\.json") as raised:
        validated_with(expanded, tmp_path, suite)

    assert words in str(raised.value)


def materialized(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> dg.ExecuteInProcessResult:
    """The job on this database."""
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", database.url)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_HOME", str(home))
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions().resolve_job_def(quality_job.name)
        return job.execute_in_process(instance=instance, raise_on_error=False)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    """Whether each check passed, and its severity."""
    found = {one.check_name: one for one in result.get_asset_check_evaluations()}
    return {name: (one.passed, one.severity.value) for name, one in found.items()}


def test_before_phase_1_what_is_not_there_is_said_and_does_not_pass(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.prepare_evidence(database, SchemaChangeSettings())

    result = materialized(database, tmp_path, monkeypatch)

    assert result.success
    for name in TABLES_OF_PHASE_1:
        assert checks(result)[f"{name}_meet_expectations"] == (False, "WARN")
    words = {one.check_name: one.description for one in result.get_asset_check_evaluations()}
    assert words["extraction_runs_meet_expectations"] == (
        "Not validated: the table knowledge_extraction_runs is absent before phase 1."
    )
    assert checks(result)["topics_meet_expectations"] == (True, "ERROR")


def test_without_an_evidence_store_nothing_is_validated(database: Database, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="evidence_store"):
        validate(database, tmp_path, Settings())


def test_a_critical_violation_is_an_error_and_a_warning_warns(
    expanded: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with expanded.connect("test") as connection:
        connection.execute("ALTER TABLE knowledge_extraction_runs DROP CONSTRAINT valid_run_status")
        connection.execute("INSERT INTO knowledge_extraction_runs VALUES (gen_random_uuid(), 'odd', '[]', 0)")
        connection.execute("INSERT INTO topics (name, description, color) VALUES ('a', 'd', 'emerald')")

    found = checks(materialized(expanded, tmp_path, monkeypatch))

    assert found["extraction_runs_meet_expectations"] == (False, "ERROR")
    assert found["topics_meet_expectations"] == (False, "WARN")
    assert found["your_suites_meet_expectations"] == (True, "ERROR")


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real knowledge base is not on this machine")
def test_the_small_real_knowledge_base_breaks_nothing_critical_after_the_backfill(
    database: Database, tmp_path: Path
) -> None:
    load(database, JsonLinesFolder(SHARED_DATA / "small"))
    schema.upgrade(database, SchemaChangeSettings())
    limits = BackfillSettings(batch_size=1000, rate_limit_per_second=0)
    with database.connect("test") as connection:
        parts = [
            part
            for made in plan.make_plan(connection, partition_rows=50_000, max_partitions=200).values()
            for part in made.partitions
        ]
    for part in parts:
        runner.backfill_partition(database, part, limits)
    completion.complete(database, limits)

    validation = validate(database, tmp_path, Settings())

    assert validation.passed
    assert validation.absent == ()
    found = {one.suite.name: [broken.count for _, broken in one.failed] for one in validation.suites}
    assert found == {name: [] for name in SUITES} | {"topics": [22], "atoms": [2, 2637], "atom_links": [7360]}


def test_values_that_python_cannot_represent_are_validated(expanded: Database, tmp_path: Path) -> None:
    with expanded.connect("test") as connection:
        connection.execute(r"""
            INSERT INTO atoms (id, type, title, content, user_approved, confidence, meta, created_at, updated_at) VALUES
                (-9223372036854775808, 'insight', 'a', '', false, 'NaN', (repeat('[', 1500) || repeat(']', 1500))::json,
                 'infinity', '-infinity'),
                (9223372036854775807, 'insight', 'b', '', false, 'Infinity', '{"a": 1e400, "b": "\ud83d"}', '4713-01-01 BC',
                 '294276-12-31')
        """)
    expectations = [
        {"type": "expect_column_values_to_be_null", "kwargs": {"column": column}, "severity": "info"}
        for column in ("updated_at", "meta", "confidence", "id")
    ]
    validation = validated_with(expanded, tmp_path, json.dumps({"table": "atoms", "expectations": expectations}))
    assert [(found.count, len(found.sample)) for _, found in validation.yours[0].failed] == [(2, 2)] * 4
    (atoms,) = (one for one in validation.suites if one.suite.name == "atoms")
    assert {expectation.rule: one.count for expectation, one in atoms.failed}["confidence is between 0 and 1"] == 2
