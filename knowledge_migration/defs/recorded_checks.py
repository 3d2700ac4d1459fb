"""What this Dagster instance has on record about asset checks."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from knowledge_migration.engine.cutover.readiness import CheckRecord


def recorded_checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> Iterator[CheckRecord]:
    """The latest evaluation of each check; one that was planned or broke off has not succeeded."""
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    for key in keys:
        record = found.get(key)
        if record is None:
            yield CheckRecord(key.name, False, None)
            continue
        at = datetime.fromtimestamp(record.create_timestamp, tz=UTC)
        evaluation = record.evaluation if isinstance(record.evaluation, dg.AssetCheckEvaluation) else None
        yield CheckRecord(
            key.name,
            succeeded=record.status.value == "SUCCEEDED",
            at=at,
            words=(evaluation.description or "") if evaluation else f"Its last execution is {record.status.value}.",
            ended=evaluation is not None,
            warns=evaluation is not None and evaluation.severity == dg.AssetCheckSeverity.WARN,
        )
