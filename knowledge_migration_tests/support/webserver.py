"""`dagster dev` on the project as a process, and its GraphQL API with the parameters that the UI sends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from knowledge_migration.demo.live_application import free_port
from knowledge_migration_tests.support.code_location import definitions

PROJECT = Path(__file__).parents[2]
START_SECONDS = RUN_SECONDS = 120.0
LOCATION = {"repositoryLocationName": "knowledge_migration", "repositoryName": "__repository__"}

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
RUN = """
query Run($id: ID!) {
  runOrError(runId: $id) {
    ... on Run {
      status
      eventConnection(afterCursor: null) {
        events {
          __typename
          ... on ExecutionStepFailureEvent { stepKey error { message } failureMetadata { description } }
          ... on AssetCheckEvaluationEvent { evaluation { checkName success assetKey { path } } }
        }
      }
    }
  }
}
"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Run:
    """A run that has ended: the failed steps with their message, and the checks with their result."""

    status: str
    failures: dict[str, str]
    checks: dict[tuple[str, str], bool]


@dataclass(frozen=True)
class Webserver:
    """A running webserver."""

    url: str

    def launch(
        self,
        job: str,
        *,
        assets: Sequence[str] = (),
        partition: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> Run:
        """Launches a job, or only some of its assets, and waits until the run has ended."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        selector: dict[str, Any] = {**LOCATION, "pipelineName": job}
        if assets:
            checks = [
                {"assetKey": {"path": list(key.asset_key.path)}, "name": key.name}
                for key in definitions().resolve_asset_graph().asset_check_keys
                if key.asset_key.to_user_string() in assets
            ]
            selector |= {"assetSelection": [{"path": [asset]} for asset in assets], "assetCheckSelection": checks}
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": json.dumps(config or {}),
            "executionMetadata": {"tags": tags},
        }
        launched = self._ask(LAUNCH, {"params": params})["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return self._ended(launched["run"]["runId"])

    def _ended(self, run_id: str) -> Run:
        until = time.monotonic() + RUN_SECONDS
        while True:
            run = self._ask(RUN, {"id": run_id})["runOrError"]
            if run["status"] in ENDED:
                break
            assert time.monotonic() < until, run
            time.sleep(0.5)
        events = run["eventConnection"]["events"]
        failures = {
            event["stepKey"]: event["error"]["message"]
            for event in events
            if event["__typename"] == "ExecutionStepFailureEvent"
        }
        checks = {
            ("/".join(one["assetKey"]["path"]), one["checkName"]): one["success"]
            for event in events
            if event["__typename"] == "AssetCheckEvaluationEvent" and (one := event["evaluation"])
        }
        return Run(run["status"], failures, checks)

    def _ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=120).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def webserver(home: Path, **variables: str) -> Iterator[Webserver]:
    """`dagster dev` in the project's root with its own home directory, while the block runs."""
    port = free_port()
    environment = {**os.environ, "KNOWLEDGE_MIGRATION_HOME": str(home), **variables}
    environment.pop("DAGSTER_HOME", None)
    home.mkdir(parents=True, exist_ok=True)
    dagster = str(Path(sys.executable).with_name("dagster"))
    command = [dagster, "dev", "--port", str(port), "--host", "127.0.0.1"]
    with (home / "webserver.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    served = Webserver(f"http://127.0.0.1:{port}")
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, (home / "webserver.log").read_text()
            assert time.monotonic() < until, (home / "webserver.log").read_text()
            try:
                if httpx.get(f"{served.url}/server_info", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield served
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupts Dagster, which ends its own processes; kills those that stay."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    psutil.wait_procs([psutil.Process(process.pid), *children], timeout=30)
    for one in (*children, psutil.Process(process.pid)) if process.poll() is None else children:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(30)
