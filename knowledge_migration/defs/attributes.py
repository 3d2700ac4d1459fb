"""The attributes that assets have in common: owner, phase, code reference, and the age that a promotion tolerates."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
from dagster._utils.warnings import suppress_dagster_warnings
from dagster_shared.record import replace

from knowledge_migration.settings import Settings, load_settings


@suppress_dagster_warnings
def with_common_attributes(definitions: dg.Definitions) -> dg.Definitions:
    """The definitions whose assets have an owner (KNOWLEDGE_MIGRATION_ASSET_OWNER), a phase, a code reference and their age."""
    settings = load_settings()
    oldest = longest_ages(settings)

    def described(spec: dg.AssetSpec) -> dg.AssetSpec:
        owned = spec.merge_attributes(owners=[settings.installation.asset_owner], tags={"phase": _phase(spec)})
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


def _phase(spec: dg.AssetSpec) -> str:
    """The number of the phase of `phase_3_backfill`, or `any` for assets beside the phases."""
    group = spec.group_name or ""
    return group.split("_")[1] if group.startswith("phase_") else "any"
