"""The way of a user in Dagster's UI: clicks from zero, with the demonstration, to full cutover and back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from knowledge_migration.thresholds import GATES, STAGES
from knowledge_migration_tests.chromium import needs_chromium, opened_browser
from knowledge_migration_tests.support.dagster_ui import DagsterUi
from knowledge_migration_tests.support.environment import ANY_SPEED, UNHURRIED
from knowledge_migration_tests.support.webserver import Run, webserver

GUARD = "requirements_are_met"
SAMPLES = {"api_error_rate": 100, "proposal_error_rate": 10, "extraction_slowdown": 10}
VARIABLES = {
    "BASELINE_SAMPLES": "20",
    "DUAL_WRITE_MEASURED_PAIRS": "10",
    **ANY_SPEED,
    "CUTOVER_GATES": json.dumps(
        {
            gate.metric: {
                **UNHURRIED.get(gate.metric, {}),
                "passes_in_a_row": 1,  # each would be a launch
                "minimum_sample": SAMPLES.get(gate.metric, gate.minimum_sample),
            }
            for gate in GATES
        }
    ),
}
PROMOTIONS = 20


@needs_chromium
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_user_clicks_from_zero_to_full_cutover_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.delenv("KNOWLEDGE_MIGRATION_DATABASE_URL", raising=False)
    try:
        with webserver(home, **VARIABLES) as served, opened_browser() as browser:
            click(DagsterUi.opened(browser, served))
    finally:
        environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(home)}
        command = [sys.executable, "-m", "knowledge_migration", "stop"]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True)


def click(ui: DagsterUi) -> None:
    refused(ui.materialize("phase_0_preparation"), "evidence_store")
    done(ui.materialize("demonstration"))
    refused(ui.materialize("phase_1_schema"), "proposal_schema")
    done(ui.materialize("phase_0_preparation"))
    refused(ui.materialize("phase_2_dual_write"), "feature_flag_store")
    for job in ("phase_1_schema", "phase_2_dual_write", "phase_3_plan"):
        done(ui.materialize(job))
    for kind in ("topic", "atom"):
        done(ui.materialize(f"phase_3_{kind}_backfill", "All"))
    done(ui.materialize("phase_3_completion"))

    early = ui.materialize("phase_4_cutover", "full_cutover")
    refused(early, "cutover_stage")
    (missing,) = early.missing.values()
    assert "stages in order" in {row["requirement"] for row in missing}
    assert all(row["how to get it"] for row in missing), missing
    ui.open(f"assets/cutover_stage?view=checks&checkDetail={GUARD}")
    ui.picture("refused_stage", "requirements are missing")
    ui.open("assets/cutover_gates?view=checks&checkDetail=api_error_rate")
    ui.picture("failed_check", "api_error_rate")

    for stage in STAGES:
        for _ in range(PROMOTIONS):  # a gate has to pass some times, and a stage has to last
            run = ui.materialize("phase_4_cutover", stage)
            if run.status == "SUCCESS":
                break
            refused(run, "cutover_stage")
        assert run.checks["cutover_stage", GUARD], run.missing
    ui.open(f"runs/{run.run_id}")
    ui.picture("promotion", "cutover_stage")

    done(ui.launch("rollback_instant"))


def done(run: Run) -> None:
    assert run.status == "SUCCESS", (run.failures, run.missing)


def refused(run: Run, asset: str) -> None:
    """The run failed because of the guard of this asset, with one line."""
    assert (run.status, run.checks[asset, GUARD]) == ("FAILURE", False), run.failures
    (message,) = (text for step, text in run.failures.items() if "is refused" in text)
    assert f"{asset} is refused: " in message
