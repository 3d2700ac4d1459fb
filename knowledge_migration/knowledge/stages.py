"""The flags of each cutover stage, and the changes of each rollback by flags (strategy §6.3, §6.4, §8.2); sets nothing."""

from collections.abc import Mapping
from typing import Any, Literal

from knowledge_migration.knowledge.flags import Flags, FlagsError
from knowledge_migration.thresholds import Stage

RollbackKind = Literal["instant", "partial"]

INTERNAL_BETA_PERCENTAGE = 10
PARTIAL_ROLLBACK_PERCENTAGE = 10
"""The strategy has the same number for both (§6.3, §8.2); each can be changed without the other."""

STAGE_FLAGS: Mapping[Stage, Mapping[str, Any]] = {
    "internal_beta": {
        "enabled": True,
        "dual_write": True,
        "audience": "admins",
        "cutover_percentage": INTERNAL_BETA_PERCENTAGE,
        "auto_approve_high_confidence": False,
    },
    "gradual_rollout": {
        "enabled": True,
        "dual_write": True,
        "audience": "everyone",
        "cutover_percentage": 50,
        "auto_approve_high_confidence": True,
        "auto_approve_threshold": 0.95,
    },
    "full_cutover": {"enabled": True, "dual_write": True, "audience": "everyone", "cutover_percentage": 100},
}
"""Dual write stays on in the last stage, so that a rollback is possible; it is switched off when the rollback window closes."""


def stage_of(flags: Flags) -> Stage | None:
    """The stage that the flags amount to; a percentage below that of the second stage counts as the first."""
    if not flags.enabled:
        return None
    if flags.audience == "admins" or flags.cutover_percentage < STAGE_FLAGS["gradual_rollout"]["cutover_percentage"]:
        return "internal_beta"
    return "full_cutover" if flags.cutover_percentage == 100 else "gradual_rollout"


def rollback_flags(flags: Flags, kind: RollbackKind) -> dict[str, Any]:
    """The flags to change: instant switches proposals off, partial reduces their percentage, both with dual write on.

    Raises `FlagsError` where this rollback is not possible: phase 5 has retired the old paths, or proposals are off.
    """
    if flags.legacy_paths_retired:
        raise FlagsError(
            "Phase 5 has retired direct writes and dual write, so there is no old path to roll back to. Open them again "
            "(knowledge-migration cleanup reopen --reason …), then roll back."
        )
    if kind == "instant":
        return {"enabled": False, "dual_write": True} if flags.enabled else {}
    if not flags.enabled:
        raise FlagsError("Proposals are off already for all users, so their percentage cannot be reduced.")
    return {"dual_write": True, "cutover_percentage": min(flags.cutover_percentage, PARTIAL_ROLLBACK_PERCENTAGE)}
