"""The way of a user in Dagster's UI: from zero, with the demonstration, through the webserver's GraphQL API."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from knowledge_migration_tests.support.webserver import webserver

GUARD = "requirements_are_met"
VARIABLES = {
    "KNOWLEDGE_MIGRATION_SKIP_REHEARSAL_REASON": "it has tests of its own",
    "BASELINE_SAMPLES": "20",
    "DUAL_WRITE_MEASURED_PAIRS": "10",
    "DUAL_WRITE_MAX_SLOWDOWN_PERCENT": "100000",  # speed is tested elsewhere
    "READER_STALL_LIMIT_MS": "60000",
}


@pytest.mark.minutes
@pytest.mark.timeout(1800)
def test_from_zero_each_phase_is_refused_until_the_one_before_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.delenv("KNOWLEDGE_MIGRATION_DATABASE_URL", raising=False)
    try:
        with webserver(home, **VARIABLES) as ui:
            empty = ui.launch("phase_0_preparation", assets=["evidence_store"])
            assert (empty.status, empty.checks["evidence_store", GUARD]) == ("FAILURE", False)
            assert "evidence_store is refused" in empty.failures["evidence_store"]

            assert ui.launch("demonstration").status == "SUCCESS"

            early = ui.launch("phase_1_schema", assets=["proposal_schema"])
            assert (early.status, early.checks) == ("FAILURE", {("proposal_schema", GUARD): False})
            assert ui.launch("phase_0_preparation").status == "SUCCESS"
            early = ui.launch("phase_2_dual_write", assets=["dual_write_mode"])
            assert (early.status, early.checks) == ("FAILURE", {("dual_write_mode", GUARD): False})
            assert ui.launch("phase_1_schema").status == "SUCCESS"

            done = ui.launch("phase_2_dual_write")
            assert done.status == "SUCCESS", done.failures
            assert done.checks["dual_write_mode", GUARD]
            early = ui.launch("phase_4_cutover", assets=["cutover_stage"], partition="internal_beta")
            assert (early.status, early.checks) == ("FAILURE", {("cutover_stage", GUARD): False})
            assert "requirements are missing" in early.failures["cutover_stage"]

            config = {"ops": {"set_flags_instant": {"config": {"reason": "a test"}}}}
            assert ui.launch("rollback_instant", config=config).status == "SUCCESS"
    finally:
        environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(home)}
        command = [sys.executable, "-m", "knowledge_migration", "stop"]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True)
