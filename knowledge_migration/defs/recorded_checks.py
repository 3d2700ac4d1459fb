"""The latest evaluation of asset checks, from this Dagster instance."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from knowledge_migration.engine.foundation.check_record import CheckRecord


def recorded_checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> Iterator[CheckRecord]:
    """The latest evaluation of each check; one that was only planned, or was interrupted, has not succeeded."""
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    for key in keys:
        record = records.get(key)
        if record is None:
            yield CheckRecord(key.name, False, None)
            continue
        evaluation = record.evaluation if isinstance(record.evaluation, dg.AssetCheckEvaluation) else None
        yield CheckRecord(
            key.name,
            succeeded=record.status.value == "SUCCEEDED",
            at=datetime.fromtimestamp(record.create_timestamp, tz=UTC),
            message=(evaluation.description or "") if evaluation else f"Its last execution is {record.status.value}.",
            ended=evaluation is not None,
            warns=evaluation is not None and evaluation.severity == dg.AssetCheckSeverity.WARN,
            asset=key.asset_key.to_user_string(),
        )
