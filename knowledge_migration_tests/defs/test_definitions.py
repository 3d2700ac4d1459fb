"""The code location as an operator and a fresh interpreter find it."""

import re
import subprocess
import sys
from pathlib import Path

import dagster as dg

from knowledge_migration.defs import backfill, cleanup, reporting
from knowledge_migration.defs.validation import EVERY_RULE, check_name, validation_job
from knowledge_migration.engine.backfill.plan import EntityPlan, partitions_of
from knowledge_migration.engine.validation import functional
from knowledge_migration.engine.validation.criteria.checklist import SECTIONS
from knowledge_migration.thresholds import GATES
from knowledge_migration_tests.support.code_location import definitions

GROUPS = {
    "phase_0_preparation",
    "phase_1_schema",
    "phase_2_dual_write",
    "phase_3_backfill",
    "phase_4_cutover",
    "phase_5_cleanup",
    "operations",
    "demonstration",
}


def python(code: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_a_fresh_interpreter_loads_the_code_location_without_great_expectations_or_pandas() -> None:
    found = python(
        "import sys, knowledge_migration.definitions\n"
        "heavy = ('great_expectations', 'pandas', 'vl_convert', 'rapidfuzz', 'yake', 'fastapi', 'apprise', 'nicegui')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert found == "[]"


def test_the_definitions_can_be_loaded_as_a_code_location() -> None:
    dg.Definitions.validate_loadable(definitions())


def test_every_asset_stands_in_a_phase_and_says_what_it_does() -> None:
    for spec in definitions().resolve_all_asset_specs():
        assert spec.group_name in GROUPS, spec.key
        assert spec.description, spec.key


def test_every_asset_that_writes_to_a_users_table_says_how_to_undo_it() -> None:
    writing = {
        "evidence_store",
        "proposal_schema",
        "feature_flag_store",
        "dual_write_mode",
        "topic_backfill",
        "atom_backfill",
        "backfill_completion",
        "cutover_stage",
    }
    for spec in definitions().resolve_all_asset_specs():
        if spec.key.to_user_string() in writing:
            assert "Undo:" in (spec.description or ""), spec.key


JOB_FAMILIES = re.compile(r"phase_\d_\w+|rollback_\w+|validation(_\w+)?|demonstration")


def test_every_asset_has_an_owner_a_tag_and_a_reference_to_its_code() -> None:
    for spec in definitions().resolve_all_asset_specs():
        assert list(spec.owners) == ["team:knowledge"], spec.key
        assert spec.tags["phase"] in {*"012345", "any"}, spec.key
        if spec.key.to_user_string() != "legacy_database":  # external: no code makes it
            (reference,) = spec.metadata["dagster/code_references"].code_references
            assert f"{Path('knowledge_migration', 'defs')}" in reference.file_path, spec.key


def test_every_job_sensor_schedule_and_config_field_has_a_description() -> None:
    location = definitions()
    jobs = [job for job in location.get_repository_def().get_all_jobs() if not job.name.startswith("__")]
    repository = location.get_repository_def()
    for one in (*jobs, *repository.sensor_defs, *repository.schedule_defs):
        assert one.description, one.name
    for job in jobs:
        assert JOB_FAMILIES.fullmatch(job.name), job.name
        for node in job.nodes_in_topological_order:
            fields = getattr(node.definition.config_field.config_type, "fields", {})
            for name, field in fields.items():
                assert field.description, f"{job.name}: {node.name}: {name}"


def test_the_validation_job_holds_every_check_that_only_reads() -> None:
    graph = definitions().resolve_asset_graph()
    checks = {key.name for key in validation_job.selection.resolve_checks(graph)}
    inside_assets = {"partition_is_fully_linked", "partition_values_are_equal"}
    writes_and_removes = {"extraction_still_works", "dual_write_is_not_slow", "the_load_test_keeps_to_its_limits"}
    writes_and_removes |= set(functional.SCENARIOS)
    of_phase_5 = {key.name for check in cleanup.CHECKS for key in check.check_keys}
    of_clones = {"rehearsed_rollbacks_are_equal_and_in_time", "every_rollback_is_equal_and_in_time"}
    summaries = {EVERY_RULE, "endpoints_are_as_fast_as_before", *(check_name(section) for section in SECTIONS)}
    of_the_cutover = {gate.metric for gate in GATES}
    everything = {key.name for key in graph.asset_check_keys}
    elsewhere = inside_assets | writes_and_removes | of_phase_5 | of_clones | summaries | of_the_cutover
    assert everything - checks == elsewhere


def test_every_rollback_is_a_job_that_asks_for_a_reason() -> None:
    rollbacks = {
        job.name for job in definitions().get_repository_def().get_all_jobs() if job.name.startswith("rollback_")
    }
    assert rollbacks >= {f"rollback_{name}" for name in ("instant", "partial", "dual_write", "backfill", "schema")}
    for name in rollbacks:
        (node,) = definitions().resolve_job_def(name).nodes
        config = node.definition.config_field
        assert config is not None, name
        assert config.config_type.fields["reason"].description, name  # type: ignore[attr-defined]


def test_the_partitions_of_the_ui_are_those_of_the_latest_plan() -> None:
    name = str(backfill.PARTITIONS["topic"].name)
    with dg.DagsterInstance.ephemeral() as instance:
        for ends in ([2, 4], [3]):
            backfill.follow_plan(instance, EntityPlan("topic", 9, 9, 0, partitions_of("topic", 1, 9, ends)))
        assert instance.get_dynamic_partitions(name) == ["000000000001", "000000000004"]


def test_a_table_of_the_ui_states_large_ids_exactly() -> None:
    rows = reporting.rows_table([{"id": 2**63 - 1, "lowest": -(2**63), "rows": 2**53}]).records
    assert rows[0].data == {"id": "9223372036854775807", "lowest": "-9223372036854775808", "rows": 2**53}
