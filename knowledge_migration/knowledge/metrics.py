"""The service's Prometheus metrics: those of strategy §4.2 by their names there, and what a cutover has to watch."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from knowledge_migration.knowledge.exporter import MigrationCollector
from knowledge_migration.knowledge.flags import Mode
from knowledge_migration.knowledge.writing.modes import Written

registry = CollectorRegistry()
migration = MigrationCollector()
registry.register(migration)

proposals_created = Counter(
    "knowledge_proposal_created_total", "Total proposals created", ["entity_type", "status"], registry=registry
)
proposal_seconds = Histogram(
    "knowledge_proposal_creation_duration_seconds", "Time to create the proposals of an extraction", ["entity_type"],
    registry=registry,
)  # fmt: skip
extraction_seconds = Histogram(
    "knowledge_extraction_duration_seconds", "Time of an extraction, the model included", ["mode", "outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120), registry=registry,
)  # fmt: skip
shadow_failures = Counter(
    "knowledge_shadow_failures_total", "Direct writes whose proposals could not be written", registry=registry
)
reviews = Counter("knowledge_reviews_total", "Decisions about proposals", ["action", "entity_type"], registry=registry)
queue_depth = Gauge("knowledge_review_queue_depth", "Proposals that wait for review", registry=registry)
open_shadow_failures = Gauge(
    "knowledge_shadow_failures_open", "Failed shadows that are not repaired yet", registry=registry
)
flag_version = Gauge(
    "knowledge_flag_version", "Version of the feature flags that this process obeys", registry=registry
)
requests = Counter(
    "knowledge_http_requests_total",
    "HTTP requests by route and status",
    ["method", "route", "status"],
    registry=registry,
)
request_errors = Counter(
    "knowledge_http_errors_total", "HTTP requests that ended in a server error", ["method", "route"], registry=registry
)
request_seconds = Histogram(
    "knowledge_http_request_duration_seconds", "Time of an HTTP request", ["method", "route"], registry=registry
)


def count_extraction(mode: Mode, outcome: Literal["completed", "failed"], seconds: float) -> None:
    """Counts an extraction and its time; the mode is the one it was written in, which a change of flags may have changed."""
    extraction_seconds.labels(mode, outcome).observe(seconds)


def count_written(written: Written) -> None:
    """Counts what a committed extraction wrote."""
    if written.shadow_failed:
        shadow_failures.inc()
    if written.proposed is None:
        return
    for (entity_type, status), count in written.proposed.statuses.items():
        approved = sum(1 for one in written.approved if one.kind.name == entity_type)
        proposals_created.labels(entity_type, "auto_approved").inc(approved)
        proposals_created.labels(entity_type, status).inc(count - approved)
        proposal_seconds.labels(entity_type).observe(written.proposed.seconds)
