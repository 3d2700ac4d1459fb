"""The migration report: its sections as plain rows, read once, and the HTML file that shows them without a network.

The strategy's deliverables (§2.3: inventory, baseline, backup, tests, rollback), its checklists, gates and audit trail. A
part that is missing is named, never left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from knowledge_migration.engine.cutover.evaluation import history
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_record import CHECK_RESULTS
from knowledge_migration.engine.foundation.database import NOT_SO_FAR, Connection
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.evidence import Evidence
from knowledge_migration.engine.foundation.sql_files import text_of
from knowledge_migration.engine.observability import plots
from knowledge_migration.engine.status.audit_trail import read_page
from knowledge_migration.engine.status.model import StatusSnapshot
from knowledge_migration.engine.validation.criteria.evaluation import evaluate
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.knowledge.audit import DECISIONS

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

Row = Mapping[str, Any]
Tables = tuple[tuple[str, Sequence[Row]], ...]

TEMPLATE = "report.html.j2"
AUDIT_ENTRIES, EXAMINED_ENTRIES = 500, 1_000_000
LATENCY = ("query", "endpoint", "samples", "median_ms", "p95_ms", "p99_ms", "max_ms")
COMPARED = ("query", "baseline_p50_ms", "p50_ms", "baseline_p95_ms", "p95_ms", "ratio")
LIMITED = ("query", "p50_ms", "p95_ms", "p99_ms", "limit_ms", "within", "sequential_scans")
ROLLBACK = ("path", "seconds", "target_seconds", "rows", "equal", "passed", "differences")
FINDING = ("finding", "table", "effect", "count", "of", "share_percent", "reason", "remedy")
FORECAST = ("phase", "rows", "seconds_on_clone", "seconds_per_thousand", "seconds_in_production")
VALIDATIONS = {
    "quality_validation": "suites",
    "functional_validation": "scenarios",
    "value_verification": "tables",
    "load_test": None,
}


PROMISES = (
    "no_data_loss",
    "success_topics_linked",
    "success_atoms_linked",
    "no_orphans",
    "backup",
    "rehearsal",
    "rollback_loses_nothing",
    "dual_write_speed",
    "extraction_speed",
    "api_errors",
    "list_speed",
    "review_page_speed",
)
"""The criteria that fit on the first page: no loss, a rollback, and speed."""


@dataclass(frozen=True)
class Section:
    """One part: an introduction, tables by caption, a plot, and what is missing."""

    title: str
    introduction: str = ""
    tables: Tables = ()
    plot: plots.Chart | None = None
    missing: str = ""


@dataclass(frozen=True)
class Contents:
    """The whole report; `promises` are the criteria of the summary."""

    status: StatusSnapshot
    written_by: str
    counts: Mapping[str, int]
    promises: Sequence[Row]
    sections: tuple[Section, ...]


def gather(status: StatusSnapshot, facts: Facts, runs: Sequence[Row], *, written_by: str, since: datetime) -> Contents:
    """Evaluates the criteria now and reads everything else as it is recorded.

    `runs` are the latest runs of Dagster, one row each; the plot of the gates begins at `since`.
    """
    criteria = [one.as_row() for one in evaluate(facts)]
    counts = {verdict: sum(row["verdict"] == verdict for row in criteria) for verdict in plots.CRITERION_COLOURS}
    connection = facts.connection

    def recorded(title: str, kind: str, asset: str, section: Callable[[Evidence, str], Section]) -> Section:
        record = evidence.latest(connection, kind)
        return section(record, title) if record else Section(title, missing=_not_measured(asset))

    sections = (
        _criteria(criteria),
        recorded("Inventory", "data_inventory", "data_inventory", _inventory),
        recorded("Data quality before the migration", "data_quality", "data_quality_report", _quality),
        _timings(connection, runs),
        recorded(
            "Performance", "performance_baseline", "performance_baseline",
            lambda record, title: _performance(record, title, connection),
        ),
        _checks(status),
        _gates(connection, status, since),
        recorded("Rollbacks", "rollback_drill", "rollback_drill", _rollbacks),
        _validations(connection),
        _audit(connection),
    )  # fmt: skip
    promises = [row for name in PROMISES for row in criteria if row["name"] == name]
    return Contents(status, written_by, counts, promises, sections)


def _not_measured(asset: str) -> str:
    return f"Not measured yet: materialize {asset}."


def _columns(rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """These columns in this order, which JSON does not keep."""
    return [{name: row.get(name) for name in columns} for row in rows]


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _frame(rows: Sequence[Row]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([dict(row) for row in rows])


def _criteria(criteria: Sequence[Row]) -> Section:
    columns = ("criterion", "verdict", "evidence", "from", "measured", "name")
    tables = tuple(
        (section, _columns([row for row in criteria if row["section"] == section], columns))
        for section in dict.fromkeys(row["section"] for row in criteria)
    )
    introduction = (
        "Every checkbox of the strategy. A person confirms what cannot be measured: "
        "knowledge-migration criteria confirm NAME --reason …"
    )
    return Section("Checklists and success criteria", introduction, tables, plots.verdicts_by_section(criteria))


def _inventory(record: Evidence, title: str) -> Section:
    rows = [
        {
            "table": f"{table['schema']}.{table['name']}",
            "rows": table["rows"],
            "lowest id": table["lowest_id"],
            "highest id": table["highest_id"],
            "MB with indexes": round(table["total_bytes"] / 1e6, 1),
        }
        for table in record.content["tables"]
    ]
    return Section(title, f"As of {_minute(record.recorded_at)}, before the migration.", (("", rows),))


def _quality(record: Evidence, title: str) -> Section:
    findings = record.content["findings"]
    present = [finding for finding in findings if finding["count"]]
    introduction = f"As of {_minute(record.recorded_at)}: {len(present)} of {len(findings)} findings have rows."
    tables = (("", _columns(present, FINDING)),)
    return Section(title, introduction, tables, plots.bar_of_findings(_frame(findings)))


def _timings(connection: Connection, runs: Sequence[Row]) -> Section:
    tables: Tables = ()
    rehearsal = evidence.latest(connection, "staging_rehearsal")
    if rehearsal:
        tables = (
            ("Times of the rehearsal on a clone, and its forecast", _columns(rehearsal.content["forecasts"], FORECAST)),
        )
    missing = "" if runs else "No run of Dagster is recorded here."
    if runs:
        tables += ((f"The latest runs ({len(runs)})", runs),)
    try:
        speed = connection.execute(text_of("observability/report_backfill_speed")).fetchall()
    except NOT_SO_FAR:
        speed = []
    return Section("Timings", "", tables, plots.backfill_speed(_frame(speed)) if speed else None, missing)


def _performance(record: Evidence, title: str, connection: Connection) -> Section:
    queries = record.content["queries"]
    tables: Tables = ((f"Baseline of {_minute(record.recorded_at)}, milliseconds", _columns(queries, LATENCY)),)
    if record.content.get("urls"):
        tables += (("Listed URLs in the baseline, milliseconds", record.content["urls"]),)
    comparison = evidence.latest(connection, "performance_comparison")
    if comparison:
        caption = f"Compared at {_minute(comparison.recorded_at)}, {comparison.content['phase']}"
        tables += ((caption, _columns(comparison.content["queries"], COMPARED)),)
        if comparison.content.get("urls"):
            tables += (("Listed URLs, compared", comparison.content["urls"]),)
    lists = evidence.latest(connection, "performance_validation")
    if lists:
        caption = f"Lists with {lists.content['proposals']:,} proposals, against their limits"
        tables += ((caption, _columns(lists.content["queries"], LIMITED)),)
    missing = "" if comparison else _not_measured("performance_comparison")
    return Section(title, "", tables, plots.latency_percentiles(_frame(queries)), missing)


def _checks(status: StatusSnapshot) -> Section:
    title = "Check records"
    if not status.checks:
        return Section(title, missing="No check has been evaluated on this database yet.")
    rows = [
        {"asset": check.asset, "check": check.name, "result": check.result, "at": check.at, "message": check.message}
        for check in sorted(status.checks, key=lambda check: CHECK_RESULTS.index(check.result))
    ]
    return Section(title, "The latest evaluation of each, the most severe first.", (("", rows),))


def _gates(connection: Connection, status: StatusSnapshot, since: datetime) -> Section:
    title = "Gates of the cutover"
    if not status.gates:
        return Section(title, missing="The flags are not set yet, so no gate was evaluated.")
    columns = ("metric", "verdict", "earlier", "value", "limit", "sample", "needed", "at")
    rows = _columns([vars(gate) for gate in status.gates], columns)
    introduction = f"The last verdicts at {status.stage}; the plot shows all since {since:%Y-%m-%d}."
    return Section(title, introduction, (("", rows),), plots.verdicts_over_time(history(connection, since)))


def _rollbacks(record: Evidence, title: str) -> Section:
    paths = record.content["paths"]
    introduction = f"Drill on a clone at {_minute(record.recorded_at)}; the legacy tables were compared after each."
    return Section(
        title, introduction, (("", _columns(paths, ROLLBACK)),), plots.rollback_times(paths) if paths else None
    )


def _validations(connection: Connection) -> Section:
    """The recorded validation runs; those without evidence are named."""
    records = {kind: evidence.latest(connection, kind) for kind in VALIDATIONS}
    tables = tuple(_validation(record) for record in records.values() if record)
    absent = [kind for kind, record in records.items() if record is None]
    return Section("Validation runs", "", tables, missing=f"No run yet: {', '.join(absent)}." if absent else "")


def _validation(record: Evidence) -> tuple[str, Sequence[Row]]:
    part = VALIDATIONS[record.kind]
    scalars = {key: value for key, value in record.content.items() if not isinstance(value, list | dict)}
    verdict = "passed" if record.content["passed"] else "failed"
    caption = f"{record.kind.replace('_', ' ')} of {_minute(record.recorded_at)}: {verdict}"
    return caption, record.content[part] if part else [scalars]


def _audit(connection: Connection) -> Section:
    title = "Audit trail"
    try:
        page = read_page(connection, limit=AUDIT_ENTRIES, examined=EXAMINED_ENTRIES)
    except NOT_SO_FAR:
        return Section(title, missing="There is no audit log yet: run phase 0.")
    entries = [
        {
            "at": entry.at,
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "reason": entry.reason,
            "run": (entry.dagster_run_id or "")[:8],
        }
        for entry in page.entries
    ]
    decisions = connection.execute(
        text_of("observability/report_audit_of_proposals"), {"decisions": list(DECISIONS)}
    ).fetchall()
    caption = (
        f"The newest {len(entries):,} entries; the log has older ones" if page.older else f"{len(entries):,} entries"
    )
    tables = ((caption, entries), ("Decisions about proposals", decisions))
    return Section(title, "Append-only: a trigger rejects changes of existing entries.", tables)


def render(contents: Contents) -> str:
    """The page: no script, no external address; everything that comes from the database is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"picture": _picture, "cell": _cell}
    text = files("knowledge_migration.engine.observability").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(contents=contents, status=contents.status)


def write(contents: Contents, path: Path) -> None:
    """Replaces the file completely or not at all; raises `MigrationError` naming a file that cannot be written."""
    page = render(contents)
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        partial.touch(mode=0o600)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MigrationError(f"The report cannot be written to {path}: {error.strerror}. Name another file.") from error


def _picture(chart: plots.Chart) -> "Markup":
    """The drawing as a part of the page; its texts are escaped."""
    from markupsafe import Markup

    return Markup(chart.svg)


def _cell(value: Any) -> str:
    """A value as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_cell(item)}" for key, item in value.items())
    return str(value)
