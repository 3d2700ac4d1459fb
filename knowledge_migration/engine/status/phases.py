"""The six phases: whether each is done (the only place that decides it), and how far it is."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from knowledge_migration.engine.backfill.control import read_control
from knowledge_migration.engine.backfill.plan import blocking_findings_outcome
from knowledge_migration.engine.backfill.run import run_status
from knowledge_migration.engine.backfill.speed import STALE_SECONDS, present_speed
from knowledge_migration.engine.cleanup.stability import Stability, stability
from knowledge_migration.engine.dual_write.fence import proven_fence
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.catalog import proposal_differences
from knowledge_migration.engine.foundation.check_record import recorded
from knowledge_migration.engine.foundation.database import Connection
from knowledge_migration.engine.foundation.own_objects import current_revision
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.schema.steps import TARGET_REVISION
from knowledge_migration.engine.status.backfill import LinkedRows, linked_rows, live_runners
from knowledge_migration.engine.status.model import Phase
from knowledge_migration.engine.status.reading import Reading
from knowledge_migration.knowledge.entity_kinds import KINDS
from knowledge_migration.thresholds import STAGES

PREPARATION_EVIDENCE = ("legacy_fingerprint", "verified_backup", "data_quality", "performance_baseline")
CHECKED = {
    1: ("proposal_schema", "feature_flag_store"),
    2: ("dual_write_mode", "dual_write_probe"),
    3: ("backfill_plan", "topic_backfill", "atom_backfill", "backfill_completion"),
}
"""The assets of a phase whose checks must hold."""
SKIPPED_DUAL_WRITE = "skipped: KNOWLEDGE_MIGRATION_NO_LIVE_WRITERS is set"


def read_phases(reading: Reading) -> Iterator[Phase]:
    """Phases 0 to 5, in order."""
    revision = reading.part("phases", lambda: current_revision(reading.connection))
    has_schema = revision == TARGET_REVISION
    yield _preparation(reading, has_schema)
    schema = Phase(1, "schema", "done", f"schema at revision {revision}", 1.0)
    yield (
        _holding(reading, schema)
        if has_schema
        else Phase(1, "schema", "not begun", "the proposal tables are incomplete")
    )
    yield _holding(reading, _dual_write(reading))
    backfill = reading.part("phases", lambda: _backfill(reading)) if has_schema else None
    yield _holding(reading, backfill or Phase(3, "backfill", "not begun", "requires phase 1"))
    yield _cutover(reading)
    yield _cleanup(
        reading.part(
            "phases",
            lambda: stability(reading.database, required_days=reading.settings.cleanup.stable_days, now=reading.now),
        )
    )


def _holding(reading: Reading, phase: Phase) -> Phase:
    """The phase, under way instead of done where a check of its assets failed when it was evaluated last, or fails now."""
    if phase.state != "done" or phase.message == SKIPPED_DUAL_WRITE:
        return phase
    records = reading.part("phases", lambda: recorded(reading.connection)) or ()
    failed = [one.name for one in records if one.asset in CHECKED[phase.number] and one.result == "failed"]
    if phase.number == 1 and reading.exact:
        failed += [one.object for one in reading.part("phases", lambda: proposal_differences(reading.database)) or ()]
    return replace(phase, state="under way", message=f"failed: {', '.join(sorted(set(failed)))}") if failed else phase


def _preparation(reading: Reading, has_schema: bool) -> Phase:
    done = reading.part("phases", lambda: _prepared(reading, has_schema))
    if done:
        return Phase(0, "preparation", "done", done, 1.0)
    if reading.part("phases", lambda: evidence.latest(reading.connection, PREPARATION_EVIDENCE[0])):
        return Phase(0, "preparation", "under way", "its evidence is incomplete, too old, or blocks the migration")
    return Phase(0, "preparation", "not begun", "no evidence recorded yet")


def _prepared(reading: Reading, has_schema: bool) -> str | None:
    """Done when all evidence is recorded and none blocks; before the schema phase it must be fresh and rehearsed too."""
    needs_rehearsal = not has_schema and not reading.settings.rehearsal.skip_reason
    kinds = (*PREPARATION_EVIDENCE, *(["staging_rehearsal"] if needs_rehearsal else []))
    records = [record for kind in kinds if (record := evidence.latest(reading.connection, kind))]
    if len(records) < len(kinds) or not blocking_findings_outcome(reading.connection).passed:
        return None
    oldest = min(record.recorded_at for record in records)
    hours = (reading.now - oldest).total_seconds() / 3600
    if not has_schema and hours > reading.settings.preparation.backup_max_age_hours:
        return None
    return f"fingerprint, verified backup, data quality and baseline of {oldest:%Y-%m-%d %H:%M} UTC"


def _dual_write(reading: Reading) -> Phase:
    if reading.settings.dual_write.no_live_writers:
        return Phase(2, "dual write", "done", SKIPPED_DUAL_WRITE, 1.0)
    fence = reading.part("phases", lambda: proven_fence(reading.database))
    if fence is None:
        return Phase(2, "dual write", "not begun", "not proven, or switched off since")
    return Phase(2, "dual write", "done", f"dual write proven at {fence.proven_at:%Y-%m-%d %H:%M} UTC", 1.0)


def _backfill(reading: Reading) -> Phase:
    """Done when the run is completed and every counted row has a proposal or is accepted without one."""
    run = run_status(reading.connection)
    tables = [linked_rows(reading.connection, kind, exact=reading.exact) for kind in KINDS]
    completed = run == "completed"
    message = f"{' and '.join(_counted(table, completed) for table in tables)} are linked to their proposals"
    if run is None:
        return Phase(3, "backfill", "not begun", message)
    if completed and not any(table.unlinked for table in tables if table.exact):
        return Phase(3, "backfill", "done", message, 1.0)
    work, eta = _work(reading.connection, tables)
    share = sum(table.linked for table in tables) / max(sum(table.total for table in tables), 1)
    return Phase(3, "backfill", "under way", f"{message}; {work}", share, eta)


def _counted(table: LinkedRows, completed: bool) -> str:
    """Linked rows of a table; of a large one that is completed, no estimate that could contradict it."""
    if table.exact:
        return f"{table.linked:,} of {table.total:,} {table.table}"
    if completed:
        return f"all {table.table} (about {table.total:,} at the last count of the server)"
    return f"about {table.linked:,} of {table.total:,} {table.table}"


def _work(connection: Connection, tables: Sequence[LinkedRows]) -> tuple[str, float | None]:
    """The runners, their speed and why, and the seconds that the remaining rows take; None while it is paused."""
    count = len(live_runners(connection))
    work = f"{count} runner{'' if count == 1 else 's'}" if count else "no runner"
    if read_control(connection).paused:
        return f"{work}, paused by the operator", None
    speed = present_speed(connection)
    if count and speed and speed.age_seconds <= STALE_SECONDS:
        work = f"{work}, {speed.sentence.rstrip('.')}"
    pace = connection.execute(text_of("status/pace")).fetchone()
    assert pace is not None  # an aggregate
    if not (count and pace["linked"] and pace["seconds"]):
        return work, None
    rate = pace["linked"] / float(pace["seconds"])
    return f"{work}, {rate:,.0f} rows/s", sum(table.unlinked for table in tables) / rate


def _cutover(reading: Reading) -> Phase:
    """How many stages are reached, and how much of the current stage's bake time is over."""
    state = reading.cutover
    if state is None or state.state in ("off", "dual_write"):
        return Phase(4, "cutover", "not begun", "no user's extractions are proposals only")
    since = f"{state.state.replace('_', ' ')} since {state.since:%Y-%m-%d %H:%M} UTC"
    following = state.next_stage
    if following is None:
        return Phase(4, "cutover", "done", since, 1.0)
    elapsed = (reading.now - state.since).total_seconds()
    left = max(reading.settings.cutover.bake_minutes[following] * 60 - elapsed, 0)
    message = f"{since}; {following.replace('_', ' ')} {'has to wait' if left else 'may follow'}"
    return Phase(4, "cutover", "under way", message, (STAGES.index(state.state) + 1) / len(STAGES), left or None)


def _cleanup(stable: Stability | None) -> Phase:
    """Whether the legacy paths are retired, or how much of the stable period is over."""
    if stable is None or stable.since is None:
        return Phase(5, "cleanup", "not begun", "requires full cutover")
    if stable.flags and stable.flags.legacy_paths_retired:
        return Phase(5, "cleanup", "done", "the legacy paths are retired", 1.0)
    message = f"stable for {stable.days:.1f} of {stable.required_days:g} days"
    share = 1.0 if stable.required_days == 0 else min(stable.days / stable.required_days, 1.0)
    return Phase(5, "cleanup", "not begun", message, share, stable.missing_days * 86_400 or None)
