"""Traces and structured logs: a phase, its batches and a request are seen with their ids, and no value of a row is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from knowledge_migration import telemetry
from knowledge_migration.defs.attributes import phase_of
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.settings import SettingsError, load_settings
from knowledge_migration_tests.pages.living import living
from knowledge_migration_tests.support.code_location import definitions
from knowledge_migration_tests.support.conditions import comes_true
from knowledge_migration_tests.support.environment import ANY_SPEED
from knowledge_migration_tests.support.otlp_receiver import Receiver, otlp_receiver, ours

PROJECT = Path(__file__).parents[1]
SECRET = "a sentence that only a user knows"
BACKFILL = """
import dagster as dg
from knowledge_migration.definitions import defs
from knowledge_migration.engine.backfill.plan import planned
from knowledge_migration.defs.resources import Migration
with Migration().database.connect("test") as connection:
    partition = planned(connection)["atom"].partitions[0].key
with dg.DagsterInstance.ephemeral() as instance:
    instance.add_dynamic_partitions("atom_id_ranges", [partition])
    job = defs().resolve_job_def("phase_3_atom_backfill")
    done = job.execute_in_process(instance=instance, partition_key=partition, raise_on_error=False)
    print(done.run_id, done.success)
"""
A_ROW_IS_REFUSED = """
UPDATE atoms SET migrated_from_proposal_id = NULL, migration_timestamp = NULL;
DELETE FROM atom_proposals;
UPDATE atoms SET content = 'a sentence that only a user knows' WHERE id = (SELECT min(id) + 4 FROM atoms);
ALTER TABLE atom_proposals ADD CONSTRAINT refuses CHECK (content <> 'a sentence that only a user knows');
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Receives the spans of other processes."""
    with otlp_receiver() as received:
        yield received


def environment(database: Database, folder: Path, **variables: str) -> dict[str, str]:
    """That of a run on this database, in batches of three rows."""
    return {
        **os.environ,
        "KNOWLEDGE_MIGRATION_DATABASE_URL": database.url,
        "KNOWLEDGE_MIGRATION_HOME": str(folder),
        "KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON": "a test of the traces",
        **ANY_SPEED,
        "MIGRATION_RATE_LIMIT_PER_SECOND": "0",
        "MIGRATION_BATCH_SIZE": "3",
        "PYTHONPATH": str(PROJECT),
        **variables,
    }


def json_lines(text: str) -> list[dict[str, Any]]:
    """The lines that are objects."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_a_phase_is_a_span_with_one_for_each_batch_its_log_lines_carry_the_ids_and_no_value_of_a_row_is_sent(
    ready_database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    with ready_database.connect("test") as connection:
        connection.execute(A_ROW_IS_REFUSED)
    variables = {**receiver.variables, "KNOWLEDGE_MIGRATION_LOG_FORMAT": "json", "OTEL_SERVICE_NAME": "our migration"}
    done = subprocess.run(
        [sys.executable, "-c", BACKFILL],
        env=environment(ready_database, tmp_path, **variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id, succeeded = done.stdout.split()
    assert succeeded == "True", done.stderr

    (phase,) = receiver.named("phase_3_atom_backfill")
    batches = receiver.named("backfill batch")
    assert receiver.services == {"our migration"}
    assert phase.status.code != phase.status.STATUS_CODE_ERROR
    assert {key: ours(phase)[key] for key in ("run_id", "phase")} == {"run_id": run_id, "phase": "3"}
    assert {(ours(one)["run_id"], ours(one)["phase"]) for one in batches} == {(run_id, "3")}
    assert {one.trace_id for one in batches} == {phase.trace_id}
    numbers = sorted(int(ours(one)["batch"]) for one in batches if "rows" in ours(one))
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(int(ours(one).get("rows", 0)) for one in batches) > 3
    statements = [one for one in receiver.spans if one.parent_span_id in {batch.span_id for batch in batches}]
    assert any("INSERT INTO" in str(one.attributes) for one in statements)

    lines = json_lines(done.stderr)
    (finished, *_) = (line for line in lines if "rows/s" in line["message"])
    assert (finished["run_id"], finished["phase"]) == (run_id, "3")
    assert finished["batch"] in numbers
    assert finished["trace_id"] == phase.trace_id.hex()
    assert [line for line in done.stderr.splitlines() if " - dagster - " in line] == [], (
        "the console of the run is JSON"
    )
    assert {line["run_id"] for line in lines if "run_id" in line} == {run_id}

    failed = [span for span in receiver.spans if any(event.name == "exception" for event in span.events)]
    assert {event.attributes[0].value.string_value for span in failed for event in span.events} == {
        "psycopg.errors.CheckViolation"
    }
    assert not any(SECRET.encode() in body for body in receiver.bodies), "not even by the error of a statement"


def test_the_span_of_a_run_that_is_refused_has_failed(
    ready_database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    with ready_database.connect("test") as connection:
        connection.execute("ALTER TABLE atom_proposals ADD CONSTRAINT refuses CHECK (content <> '') NOT VALID")
    done = subprocess.run(
        [sys.executable, "-c", BACKFILL],
        env=environment(ready_database, tmp_path, **receiver.variables),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    (phase,) = receiver.named("phase_3_atom_backfill")
    assert done.stdout.split()[1] == "False"
    assert phase.status.code == phase.status.STATUS_CODE_ERROR
    assert phase.status.message == ""


@pytest.mark.parametrize(
    ("job", "assets", "phase"),
    [
        ("phase_1_schema", (), "1"),
        ("__ASSET_JOB", ("topic_backfill", "atom_backfill"), "3"),
        ("__ASSET_JOB", ("topic_backfill", "proposal_schema"), "any"),
        ("rollback_instant", (), "any"),
    ],
)
def test_the_phase_of_a_run_is_that_of_its_job_or_of_the_assets_that_were_selected(
    job: str, assets: tuple[str, ...], phase: str
) -> None:
    definitions()
    selection = frozenset(dg.AssetKey(asset) for asset in assets) or None
    assert phase_of(dg.DagsterRun(job_name=job, asset_selection=selection)) == phase


def test_a_request_to_the_service_is_a_span_with_its_statements_and_its_log_is_json(
    expanded: Database, receiver: Receiver, tmp_path: Path
) -> None:
    with living(expanded, tmp_path, **receiver.variables, KNOWLEDGE_MIGRATION_LOG_FORMAT="json") as served:
        asked = httpx.get(f"{served.url}/api/v1/topics", params={"search": SECRET, "q": SECRET})
        assert asked.status_code == 200, asked.text
        comes_true(lambda: bool(receiver.named("GET /api/v1/topics")))
    (request,) = receiver.named("GET /api/v1/topics")
    in_request = [span for span in receiver.spans if span.trace_id == request.trace_id]
    assert any("SELECT" in str(span.attributes) for span in in_request)
    assert receiver.services == {"knowledge_migration"}
    assert not any(SECRET.encode() in body or b"sentence+that+only" in body for body in receiver.bodies)
    lines = json_lines((tmp_path / "serve.log").read_text())
    assert any(line["logger"] == "uvicorn.error" and "Uvicorn running" in line["message"] for line in lines)


OFF = """
import os, sys
from knowledge_migration import telemetry
from knowledge_migration.settings import load_settings
from knowledge_migration.knowledge.api import app
import knowledge_migration.definitions
EXPORTER_NONE = {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
SDK_DISABLED = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}
knowledge_migration.definitions.defs()
for variables in ({}, EXPORTER_NONE, SDK_DISABLED):
    os.environ.update(variables)
    telemetry.start(load_settings())
    with telemetry.in_progress("phase", batch=1) as measured:
        measured(rows=1)
    for variable in variables:
        del os.environ[variable]
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instr"))])
"""


def test_nothing_of_the_sdk_is_imported_while_traces_are_off(tmp_path: Path) -> None:
    known = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", OFF], env=known, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.fixture
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only the package is installed."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "knowledge_migration.tracing", raising=False)


@pytest.mark.usefixtures("without_the_extra")
def test_an_exporter_without_the_extra_is_an_error_and_an_endpoint_of_the_platform_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    telemetry.start(load_settings())
    assert "pip install 'knowledge_migration[otel]'" in caplog.text
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    with pytest.raises(SettingsError, match=r"OTEL_TRACES_EXPORTER asks .* pip install 'knowledge_migration\[otel\]'"):
        telemetry.start(load_settings())


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "zipkin, which no installed package provides"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc; the extra otel sends http"),
    ],
)
def test_an_exporter_that_cannot_be_used_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=reason):
        telemetry.start(load_settings())
