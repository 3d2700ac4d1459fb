"""The migration report: it says what is missing, shows what is there, escapes what users wrote, and opens without a network."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from knowledge_migration.engine.foundation import audit, evidence, inventory
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.observability.report import PROMISES, Contents, Section, gather, render, write
from knowledge_migration.engine.preparation import baseline
from knowledge_migration.engine.status.snapshot import read_status
from knowledge_migration.engine.validation import data_quality
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.settings import Settings
from knowledge_migration.thresholds import GATES
from knowledge_migration_tests.engine.backfill.backfilling import backfill, fill
from knowledge_migration_tests.engine.cutover.stages_reached import stand_at
from knowledge_migration_tests.engine.status.reading import RULES

SINCE = datetime(2020, 1, 1, tzinfo=UTC)
LIMITS = Settings()
RUN = {"job": "phase_0_preparation", "status": "SUCCESS", "started": SINCE, "seconds": 3.2, "run": "0a1b2c3d"}


def gathered(database: Database, *runs: dict[str, object]) -> Contents:
    """The contents of the report now."""
    with database.connect("test") as connection:
        facts = Facts(database, connection, LIMITS)
        return gather(read_status(database, RULES), facts, runs, written_by="a test", since=SINCE)


def section(contents: Contents, title: str) -> Section:
    """The section of that title."""
    return next(one for one in contents.sections if one.title == title)


def test_before_the_first_phase_every_part_says_what_is_missing(database: Database) -> None:
    contents = gathered(database)
    page = render(contents)
    missing = {one.title: one.missing for one in contents.sections if one.missing}
    assert set(missing) == {one.title for one in contents.sections} - {"Checklists and success criteria"}
    assert missing["Inventory"] == "Not measured yet: materialize data_inventory."
    assert all(text in page for text in ("There is no audit log yet", "48 no evidence yet", "0 met"))


def test_everything_measured_is_in_it(expanded: Database) -> None:
    fill(expanded)
    backfill(expanded)
    stand_at(expanded, "internal_beta")
    with expanded.connect("test") as connection:
        evidence.record(connection, "data_inventory", inventory.read(connection).to_evidence())
        evidence.record(connection, "performance_baseline", baseline.measure(connection, samples=3).to_evidence())
        report = data_quality.report(connection, sample=2, similarity_percent=60)
        evidence.record(connection, "data_quality", {"findings": report.as_frame().to_dict("records")})
        path = {"path": "instant", "seconds": 0.1, "target_seconds": 60, "rows": 3, "equal": True, "passed": True}
        evidence.record(connection, "rollback_drill", {"paths": [path], "phases": [], "passed": True})
    contents = gathered(expanded, RUN)
    page = render(contents)
    assert "phase_0_preparation" in page
    assert section(contents, "Inventory").tables[0][1]
    assert [row["path"] for row in section(contents, "Rollbacks").tables[0][1]] == ["instant"]
    assert len(section(contents, "Gates of the cutover").tables[0][1]) == len(GATES)
    assert page.count("<svg ") == 6
    assert [row["name"] for row in contents.promises] == list(PROMISES)
    assert page.count("<details>") == len(contents.sections)
    assert "internal beta" in page


def test_nothing_outside_the_file_is_named(expanded: Database) -> None:
    page = render(gathered(expanded))
    assert not re.findall(r"(?:src|href)=|url\(", page.replace("xmlns:xlink", ""))
    assert "<script" not in page


def test_what_people_wrote_is_escaped(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        audit.record(connection, "set flags", "<script>alert(1)</script>", reason="</td><b onclick=x>")
    page = render(gathered(expanded))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b onclick" not in page


def test_single_decisions_are_summed_up_and_deeds_are_not(expanded: Database) -> None:
    with expanded.connect("test") as connection:
        for number in range(3):
            audit.record(connection, "approve proposal", f"topic proposal {number}", actor="ann")
        audit.record(connection, "rollback instant", "phase 4", reason="errors", actor="bob")
    (_, deeds), (_, decisions) = section(gathered(expanded), "Audit trail").tables
    assert ("rollback instant", "bob", "errors") in [(row["action"], row["actor"], row["reason"]) for row in deeds]
    assert "approve proposal" not in [row["action"] for row in deeds]
    assert [(row["action"], row["actor"], row["proposals"]) for row in decisions] == [("approve proposal", "ann", 3)]


def test_the_file_is_replaced_whole_or_not_at_all(expanded: Database, tmp_path: Path) -> None:
    contents = gathered(expanded)
    target = tmp_path / "report.html"
    target.write_text("an earlier one")
    write(contents, target)
    assert target.read_text().startswith("<!doctype html>")
    with pytest.raises(MigrationError, match="nowhere"):
        write(contents, tmp_path / "nowhere" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
