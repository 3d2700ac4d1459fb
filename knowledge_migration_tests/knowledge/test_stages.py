"""The flags of the stages and of the rollbacks are independent of each other."""

import pytest

from knowledge_migration.knowledge import stages
from knowledge_migration.knowledge.flags import Flags


def test_the_percentage_of_a_partial_rollback_is_not_that_of_the_internal_beta(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = Flags(enabled=True, cutover_percentage=50)
    assert stages.rollback_flags(flags, "partial") == {"dual_write": True, "cutover_percentage": 10}

    monkeypatch.setattr(stages, "PARTIAL_ROLLBACK_PERCENTAGE", 25)

    assert stages.rollback_flags(flags, "partial") == {"dual_write": True, "cutover_percentage": 25}
    assert stages.STAGE_FLAGS["internal_beta"]["cutover_percentage"] == stages.INTERNAL_BETA_PERCENTAGE == 10


def test_a_partial_rollback_never_raises_the_percentage() -> None:
    assert stages.rollback_flags(Flags(enabled=True, cutover_percentage=3), "partial")["cutover_percentage"] == 3
