"""What the report says: plain rows, gathered once, read only. What is missing is missing by name, never left out.

The strategy's deliverables (§2.3: inventory, baseline, backup, tests, rollback), its checklists, gates and audit trail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg

from knowledge_migration.engine.cutover.evaluation import history
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_record import CHECK_RESULTS
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.engine.validation.criteria.evaluation import evaluate
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.knowledge.audit import DECISIONS

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
AUDIT_ENTRIES = 500
RUNS = 200
LATENCY = ("query", "endpoint", "samples", "median_ms", "p95_ms", "p99_ms", "max_ms")
COMPARED = ("query", "baseline_p50_ms", "p50_ms", "baseline_p95_ms", "p95_ms", "ratio")
LIMITED = ("query", "p50_ms", "p95_ms", "p99_ms", "limit_ms", "within", "sequential_scans")
WAY_BACK = ("path", "seconds", "target_seconds", "rows", "equal", "passed", "differences")
FINDING = ("finding", "table", "effect", "count", "of", "share_percent", "reason", "remedy")


@dataclass(frozen=True)
class Section:
    """One part: what it is, a plot (PNG), tables by caption, and what is missing in plain words."""

    title: str
    words: str = ""
    plot: bytes | None = None
    tables: tuple[tuple[str, Sequence[Row]], ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class Contents:
    """The whole report."""

    overview: StatusSnapshot
    written_by: str
    counts: Mapping[str, int]
    sections: tuple[Section, ...]


def gather(
    overview: StatusSnapshot, facts: Facts, storage: Database | None, *, written_by: str, since: datetime
) -> Contents:
    """Judges the criteria now and reads everything else as it is recorded; `since` begins the plot of the gates."""
    judged = [one.as_row() for one in evaluate(facts)]
    counts = {verdict: sum(row["verdict"] == verdict for row in judged) for verdict in plots.CRITERION_COLOURS}
    connection = facts.connection
    sections = (
        _criteria(judged),
        _inventory(connection),
        _quality(connection),
        _timings(connection, storage),
        _performance(connection),
        _checks(overview),
        _gates(connection, overview, since),
        _ways_back(connection),
        _validations(connection),
        _audit(connection),
    )
    return Contents(overview, written_by, counts, sections)


def _of(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """These columns in this order; JSON keeps none."""
    return [{name: row.get(name) for name in columns} for row in rows]


def _never(asset: str) -> str:
    return f"Not measured yet: materialize {asset}."


def _criteria(judged: Sequence[Row]) -> Section:
    shown = ("criterion", "verdict", "evidence", "from", "measured", "name")
    sections = dict.fromkeys(row["section"] for row in judged)
    tables = tuple(
        (section, [{key: row[key] for key in shown} for row in judged if row["section"] == section])
        for section in sections
    )
    return Section(
        "Checklists and success criteria",
        "Every checkbox of the strategy. What only a person can judge waits for their word: "
        "knowledge-migration criteria confirm NAME --reason …",
        plots.verdicts_by_section(judged),
        tables,
    )


def _inventory(connection: Connection) -> Section:
    found = evidence.latest(connection, "data_inventory")
    title = "Inventory"
    if found is None:
        return Section(title, missing=_never("data_inventory"))
    rows = [
        {
            "table": f"{table['schema']}.{table['name']}",
            "rows": table["rows"],
            "lowest id": table["lowest_id"],
            "highest id": table["highest_id"],
            "MB with indexes": round(table["total_bytes"] / 1e6, 1),
        }
        for table in found.content["tables"]
    ]
    return Section(title, f"As of {found.recorded_at:%Y-%m-%d %H:%M} UTC, before the migration.", None, (("", rows),))


def _quality(connection: Connection) -> Section:
    found = evidence.latest(connection, "data_quality")
    title = "Data quality before the migration"
    if found is None:
        return Section(title, missing=_never("data_quality_report"))
    findings = found.content["findings"]
    met = [one for one in findings if one["count"]]
    words = f"As of {found.recorded_at:%Y-%m-%d %H:%M} UTC: {len(met)} of {len(findings)} findings were met."
    return Section(title, words, plots.bar_of_findings(_frame(findings)), (("", _of(met, FINDING)),))


def _timings(connection: Connection, storage: Database | None) -> Section:
    tables: list[tuple[str, Sequence[Row]]] = []
    rehearsal = evidence.latest(connection, "staging_rehearsal")
    if rehearsal:
        shown = ("phase", "rows", "seconds_on_clone", "seconds_per_thousand", "seconds_in_production")
        forecasts = _of(rehearsal.content["forecasts"], shown)
        tables.append(("What the rehearsal on a clone took, and its forecast", forecasts))
    missing = "Dagster's runs cannot be seen from here." if storage is None else ""
    if storage:
        try:
            with storage.connect("report") as dagster:
                runs = dagster.execute(text_of("observability/report_runs"), {"limit": RUNS}).fetchall()
            tables.append((f"The latest runs (at most {RUNS})", [_run(row) for row in runs]))
        except (MigrationError, psycopg.Error) as error:
            missing = f"Dagster's runs cannot be seen: {str(error).strip().splitlines()[0]}"
    try:
        speed = connection.execute(text_of("observability/report_backfill_speed")).fetchall()
    except NOT_SO_FAR:
        speed = []
    plot = plots.backfill_speed(_frame(speed)) if speed else None
    return Section("Timings", "", plot, tuple(tables), missing)


def _run(row: Row) -> Row:
    seconds = None if row["seconds"] is None else round(float(row["seconds"]), 1)
    return {
        "job": row["job"],
        "status": row["status"],
        "started": f"{row['started']:%Y-%m-%d %H:%M:%S} UTC",
        "seconds": seconds,
        "run": row["run_id"][:8],
    }


def _performance(connection: Connection) -> Section:
    before = evidence.latest(connection, "performance_baseline")
    title = "Performance"
    if before is None:
        return Section(title, missing=_never("performance_baseline"))
    tables: list[tuple[str, Sequence[Row]]] = [
        (f"Baseline of {before.recorded_at:%Y-%m-%d %H:%M} UTC, milliseconds", _of(before.content["queries"], LATENCY))
    ]
    if before.content.get("urls"):
        tables.append(("Listed URLs in the baseline, milliseconds", before.content["urls"]))
    after = evidence.latest(connection, "performance_comparison")
    missing = "" if after else _never("performance_comparison")
    if after:
        words = f"Compared at {after.recorded_at:%Y-%m-%d %H:%M} UTC, {after.content['phase']}"
        tables.append((words, _of(after.content["queries"], COMPARED)))
        if after.content.get("urls"):
            tables.append(("Listed URLs, compared", after.content["urls"]))
    lists = evidence.latest(connection, "performance_validation")
    if lists:
        words = f"Lists with {lists.content['proposals']:,} proposals, against their limits"
        tables.append((words, _of(lists.content["queries"], LIMITED)))
    plot = plots.latency_percentiles(_frame(before.content["queries"]))
    return Section(title, "", plot, tuple(tables), missing)


def _checks(overview: StatusSnapshot) -> Section:
    title = "Checks on record"
    if overview.checks is None:
        return Section(title, missing="Dagster's checks cannot be seen from here.")
    rows = [
        {
            "asset": check.asset,
            "check": check.name,
            "result": check.result,
            "at": f"{check.at:%Y-%m-%d %H:%M} UTC",
            "message": check.message,
        }
        for check in sorted(overview.checks, key=lambda check: CHECK_RESULTS.index(check.result))
    ]
    return Section(title, "The latest evaluation of each, what did not pass first.", None, (("", rows),))


def _gates(connection: Connection, overview: StatusSnapshot, since: datetime) -> Section:
    title = "Gates of the cutover"
    if not overview.gates:
        return Section(title, missing="The flags are not set yet, so no gate was judged.")
    frame = history(connection, since)
    rows = [
        {
            "metric": gate.metric,
            "verdict": gate.verdict,
            "before": gate.earlier,
            "value": None if gate.value is None else round(gate.value, 5),
            "limit": gate.limit,
            "sample": gate.sample,
            "needed": gate.needed,
            "at": f"{gate.at:%Y-%m-%d %H:%M} UTC" if gate.at else None,
        }
        for gate in overview.gates
    ]
    words = f"The last verdicts at {overview.stage}; the plot has all since {since:%Y-%m-%d}."
    return Section(title, words, plots.verdicts_over_time(frame), (("", rows),))


def _ways_back(connection: Connection) -> Section:
    drill = evidence.latest(connection, "rollback_drill")
    title = "Ways back"
    if drill is None:
        return Section(title, missing=_never("rollback_drill"))
    paths = drill.content["paths"]
    words = f"Drilled on a clone at {drill.recorded_at:%Y-%m-%d %H:%M} UTC; the legacy tables were compared after each."
    return Section(title, words, plots.ways_back(paths) if paths else None, (("", _of(paths, WAY_BACK)),))


def _validations(connection: Connection) -> Section:
    """The validation runs that are kept as evidence; those that never ran are named."""
    tables: list[tuple[str, Sequence[Row]]] = []
    never: list[str] = []
    for kind, part in (
        ("quality_validation", "suites"),
        ("functional_validation", "scenarios"),
        ("value_verification", "tables"),
        ("load_test", None),
    ):
        found = evidence.latest(connection, kind)
        if found is None:
            never.append(kind)
            continue
        flat = {key: value for key, value in found.content.items() if not isinstance(value, list | dict)}
        rows = found.content[part] if part else [flat]
        verdict = "well" if found.content["passed"] else "not well"
        tables.append((f"{kind.replace('_', ' ')} of {found.recorded_at:%Y-%m-%d %H:%M} UTC: {verdict}", rows))
    missing = f"Never run: {', '.join(never)}." if never else ""
    return Section("Validation runs", "", None, tuple(tables), missing)


def _audit(connection: Connection) -> Section:
    title = "Audit trail"
    try:
        rows = connection.execute(
            text_of("observability/report_audit_trail"), {"decisions": list(DECISIONS), "limit": AUDIT_ENTRIES}
        ).fetchall()
    except NOT_SO_FAR:
        return Section(title, missing="There is no audit log yet: run phase 0.")
    whole = rows[0]["entries"] if rows else 0
    shown = [
        {
            "at": f"{row['at']:%Y-%m-%d %H:%M:%S} UTC",
            "who": row["actor"],
            "what": row["action"],
            "to": row["subject"],
            "why": row["reason"],
            "run": (row["dagster_run_id"] or "")[:8],
        }
        for row in rows
    ]
    decided = [
        {
            "day": f"{row['day']}",
            "what": row["action"],
            "who": row["actor"],
            "proposals": row["proposals"],
            "first": f"{row['first']:%H:%M:%S}",
            "last": f"{row['last']:%H:%M:%S}",
        }
        for row in connection.execute(
            text_of("observability/report_audit_of_proposals"), {"decisions": list(DECISIONS)}
        )
    ]
    tables = ((f"{len(shown):,} of {whole:,} entries, newest first", shown), ("Decisions about proposals", decided))
    return Section(title, "Append-only: a trigger refuses every change of what is written.", None, tables)


def _frame(rows: Sequence[Row]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([dict(row) for row in rows])
