"""The attributes that assets have in common: owner, phase, code reference, and the age that a promotion tolerates."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster._utils.warnings import suppress_dagster_warnings
from dagster_shared.record import replace

from knowledge_migration.settings import Settings, load_settings

_phases: dict[dg.AssetKey, str] = {}
"""The phase of each asset that this process has loaded."""


@suppress_dagster_warnings
def with_common_attributes(definitions: dg.Definitions) -> dg.Definitions:
    """The definitions whose assets have an owner (KNOWLEDGE_MIGRATION_ASSET_OWNER), a phase, a code reference and their age."""
    settings = load_settings()
    oldest = longest_ages(settings)

    def described(spec: dg.AssetSpec) -> dg.AssetSpec:
        _phases[spec.key] = _phase(spec.group_name or "")
        owned = spec.merge_attributes(owners=[settings.installation.asset_owner], tags={"phase": _phases[spec.key]})
        age = oldest.get(spec.key.to_user_string())
        return owned.replace_attributes(freshness_policy=dg.FreshnessPolicy.time_window(age)) if age else owned

    assets: list[Any] = list(definitions.map_asset_specs(func=described).assets or [])
    return replace(definitions, assets=dg.with_source_code_references(assets))


def longest_ages(settings: Settings) -> Mapping[str, timedelta]:
    """How old the evidence of an asset may be for a promotion; the UI shows it as the asset's freshness policy."""
    return {
        "integrity_validation": timedelta(minutes=settings.cutover.check_max_age_minutes),
        "verified_backup": timedelta(hours=settings.preparation.backup_max_age_hours),
        "rollback_drill": timedelta(days=settings.rehearsal.drill_max_age_days),
        "value_verification": timedelta(hours=settings.verification.max_age_hours),
    }


def phase_of(run: dg.DagsterRun) -> str:
    """The number of the phase of a run: that of its job, or of the assets that were selected; else `any`."""
    selected = {_phases.get(key, "any") for key in run.asset_selection or ()}
    return selected.pop() if len(selected) == 1 else _phase(run.job_name)


def _phase(name: str) -> str:
    """The number of the phase of `phase_3_backfill`, a group or a job; `any` for what is beside the phases."""
    return name.split("_")[1] if name.startswith("phase_") else "any"
