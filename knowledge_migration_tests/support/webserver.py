"""Dagster's webserver, as `dagster dev` in a process or inside the test's, and its GraphQL API as the UI uses it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.run_coordinator import DefaultRunCoordinator
from dagster._core.storage.event_log import InMemoryEventLogStorage
from dagster._core.storage.noop_compute_log_manager import NoOpComputeLogManager
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.testclient import TestClient

from knowledge_migration.commands.migrate import end_with_children
from knowledge_migration.demo.live_application import free_port
from knowledge_migration_tests.support.code_location import definitions

PROJECT = Path(__file__).parents[2]
PORT = "3000"
DEV = ("dagster", "dev", "-p", PORT, "-h", "127.0.0.1")
START_SECONDS = RUN_SECONDS = 600.0
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
          ... on ExecutionStepFailureEvent {
            stepKey error { message } failureMetadata { description metadataEntries { ...Entry } }
          }
          ... on AssetCheckEvaluationEvent {
            evaluation { checkName success assetKey { path } metadataEntries { ...Entry } }
          }
          ... on MaterializationEvent { assetKey { path } }
        }
      }
    }
  }
}
fragment Entry on MetadataEntry {
  label
  ... on TableMetadataEntry { table { records } }
  ... on IntMetadataEntry { intValue }
}
"""
RUNS = """
query Runs($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs { results { runId } } } }
"""
ADD_PARTITION = """
mutation Add($repository: RepositorySelector!, $definition: String!, $partition: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $definition, partitionKey: $partition) {
    __typename
  }
}
"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class Run:
    """A run that has ended: the failed steps with their message, and the checks with their result.

    `missing` has the rows of the table of missing requirements by failed step, `materialized` the assets.
    """

    run_id: str
    status: str
    failures: dict[str, str]
    checks: dict[tuple[str, str], bool]
    missing: dict[str, list[dict[str, Any]]]
    materialized: list[str]


@dataclass(frozen=True)
class Webserver:
    """A running webserver, behind an HTTP client."""

    client: httpx.Client

    def launch(
        self,
        job: str,
        *,
        assets: Sequence[str] = (),
        partition: str | None = None,
        config: dict[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Launches a job, or only some of its assets, and waits until the run has ended."""
        return self.ended(self.submit(job, assets=assets, partition=partition, config=config, tags=tags))

    def submit(
        self,
        job: str,
        *,
        assets: Sequence[str] = (),
        partition: str | None = None,
        config: dict[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Launches a job, or only some of its assets; returns the id of its run."""
        given = {**(tags or {}), **({"dagster/partition": partition} if partition else {})}
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
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in given.items()]},
        }
        launched = self._ask(LAUNCH, {"params": params})["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def run_ids(self, job: str) -> list[str]:
        """The runs of a job, the newest first."""
        return [run["runId"] for run in self._ask(RUNS, {"filter": {"pipelineName": job}})["runsOrError"]["results"]]

    def next_run(self, job: str, known: Sequence[str]) -> Run:
        """The first run of a job that is not known, after its end."""
        until = time.monotonic() + RUN_SECONDS
        while not (new := [run_id for run_id in self.run_ids(job) if run_id not in known]):
            assert time.monotonic() < until, job
            time.sleep(0.5)
        return self.ended(new[-1])

    def add_partition(self, definition: str, partition: str) -> None:
        """Adds a partition, unless it exists."""
        values = {"repository": LOCATION, "definition": definition, "partition": partition}
        added = self._ask(ADD_PARTITION, values)["addDynamicPartition"]["__typename"]
        assert added in ("AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"), added

    def ended(self, run_id: str) -> Run:
        """The run, after its end."""
        until = time.monotonic() + RUN_SECONDS
        while True:
            run = self._ask(RUN, {"id": run_id})["runOrError"]
            if run["status"] in ENDED:
                break
            assert time.monotonic() < until, run
            time.sleep(0.5)
        events = run["eventConnection"]["events"]
        failed = [event for event in events if event["__typename"] == "ExecutionStepFailureEvent"]
        failures = {event["stepKey"]: event["error"]["message"] for event in failed}
        missing = {
            event["stepKey"]: [json.loads(record) for record in entry["table"]["records"]]
            for event in failed
            for entry in (event["failureMetadata"] or {"metadataEntries": []})["metadataEntries"]
            if entry["label"] == "missing"
        }
        materialized = [
            "/".join(event["assetKey"]["path"]) for event in events if event["__typename"] == "MaterializationEvent"
        ]
        checks = {
            ("/".join(one["assetKey"]["path"]), one["checkName"]): one["success"]
            for event in events
            if event["__typename"] == "AssetCheckEvaluationEvent" and (one := event["evaluation"])
        }
        return Run(run_id, run["status"], failures, checks, missing, materialized)

    def _ask(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def webserver_in_process() -> Iterator[Webserver]:
    """The webserver in this process, with runs that are executed here while they are launched."""
    parts = {
        "run_launcher": SyncInMemoryRunLauncher,
        "run_coordinator": DefaultRunCoordinator,
        "compute_logs": NoOpComputeLogManager,  # the other ones take over the output of this process
        "event_log_storage": InMemoryEventLogStorage,  # the one with files makes an engine for each event
    }
    overrides = {name: {"module": part.__module__, "class": part.__name__} for name, part in parts.items()}
    target = LoadableTargetOrigin(
        module_name=definitions.__module__, attribute=definitions.__name__, working_directory=str(PROJECT)
    )
    origin = InProcessCodeLocationOrigin(target, location_name=LOCATION["repositoryLocationName"])
    with (
        dg.instance_for_test(overrides=overrides) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context,
        TestClient(DagsterWebserver(context).create_asgi_app()) as client,
    ):
        yield Webserver(client)


@contextmanager
def webserver(home: Path, words: Sequence[str] = DEV, **variables: str) -> Iterator[Webserver]:
    """The command in the project's root with its own home directory, on a free port, while the block runs."""
    port = free_port()
    without = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    environment = {**without, "KNOWLEDGE_MIGRATION_HOME": str(home), **variables}
    home.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name(words[0])
    command = [program, *(str(port) if word == PORT else word for word in words[1:])]
    with (home / "webserver.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    served = Webserver(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120))
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, (home / "webserver.log").read_text()
            assert time.monotonic() < until, (home / "webserver.log").read_text()
            try:
                if served.client.get("/server_info").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield served
    finally:
        end_with_children(process)
