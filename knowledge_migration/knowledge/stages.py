"""What the flags are at each stage of the cutover, and after each way back by flags (strategy §6.3, §6.4, §8.2).

Nothing is set here: `flags.set_flags` does that with these changes, whoever asks for it: promotion, command, API.
"""

from collections.abc import Mapping
from typing import Any, Literal

from knowledge_migration.knowledge.flags import Flags, FlagsError

Stage = Literal["internal_beta", "gradual_rollout", "full_cutover"]
FlagRollback = Literal["instant", "partial"]

STAGES: tuple[Stage, ...] = ("internal_beta", "gradual_rollout", "full_cutover")

REDUCED_PERCENTAGE = 10

STAGE_FLAGS: Mapping[Stage, Mapping[str, Any]] = {
    "internal_beta": {
        "enabled": True,
        "dual_write": True,
        "audience": "admins",
        "cutover_percentage": REDUCED_PERCENTAGE,
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
"""Dual write stays on in the last stage, so that a way back exists; it goes off when the rollback window has closed."""


def stage_of(flags: Flags) -> Stage | None:
    """The stage that the flags amount to, whoever set them; a share below that of the second stage counts as the first."""
    if not flags.enabled:
        return None
    if flags.audience == "admins" or flags.cutover_percentage < STAGE_FLAGS["gradual_rollout"]["cutover_percentage"]:
        return "internal_beta"
    return "full_cutover" if flags.cutover_percentage == 100 else "gradual_rollout"


def rollback_flags(flags: Flags, way: FlagRollback) -> dict[str, Any]:
    """What to change: instant switches proposals off, partial leaves them to a tenth of the users, both with dual write.

    Raises `FlagsError` where the way leads nowhere: phase 5 has retired the old paths, or proposals are off already.
    """
    if flags.legacy_paths_retired:
        raise FlagsError(
            "Direct writes and dual write are retired (phase 5), so there is no path to go back to. Open them again "
            "(knowledge-migration cleanup reopen --reason …), then roll back."
        )
    if way == "instant":
        return {"enabled": False, "dual_write": True} if flags.enabled else {}
    if not flags.enabled:
        raise FlagsError("Proposals are off already, for everyone; there is no share of users to reduce.")
    return {"dual_write": True, "cutover_percentage": min(flags.cutover_percentage, REDUCED_PERCENTAGE)}
