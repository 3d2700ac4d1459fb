"""The sign-off document without Great Expectations: what its index says, and how many runs of it stay."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.quality import documents
from knowledge_migration.quality.documents import SignOff
from knowledge_migration.quality.expectations import Expectation, Severity, Suite, SuiteOutcome

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def outcome(*broken: Severity) -> SuiteOutcome:
    """A suite with one expectation that is met, and these that are not."""
    expectations = [Expectation("t", {}, "critical", "a rule that is met")]
    expectations += [Expectation("t", {}, severity, f"a {severity} rule", "do <this>") for severity in broken]
    suite = Suite("topics", "topics", tuple(expectations))
    met = CheckOutcome("t", 0, (), "", "")
    failed = [CheckOutcome("t", 3, ({"name": "<b>"},), "", "") for _ in broken]
    return SuiteOutcome(suite, (met, *failed), 1.5, "validations/topics/page.html")


def published(directory: Path, at: datetime = AT, *, kept: int = 2, run: str = "") -> Path:
    """The index of a run without pages."""
    sign_off = SignOff("a database", at, (outcome(),), dagster_run_id=run)
    with documents.unpublished(directory) as folder:
        return documents.publish(folder, sign_off, kept=kept)


def test_a_run_beyond_the_number_to_keep_takes_the_oldest_away_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "of the user").mkdir()
    for day in range(4):
        published(tmp_path, AT + timedelta(days=day))

    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        "20260104T030405_000000Z",
        "20260105T030405_000000Z",
        "of the user",
    ]


def test_two_runs_in_one_second_are_both_kept(tmp_path: Path) -> None:
    first, second = (published(tmp_path, AT + timedelta(milliseconds=part)) for part in (1, 2))

    assert first.exists()
    assert second.exists()
    assert first != second


def test_what_a_killed_run_left_is_removed_a_day_later_and_one_at_work_is_left_alone(tmp_path: Path) -> None:
    for name, age in (("old", timedelta(days=2)), ("young", timedelta(0))):
        folder = tmp_path / f"{documents.PARTIAL}{name}"
        folder.mkdir()
        moment = (datetime.now(UTC) - age).timestamp()
        os.utime(folder, (moment, moment))

    published(tmp_path)

    assert [folder.name for folder in tmp_path.glob(f"{documents.PARTIAL}*")] == [f"{documents.PARTIAL}young"]


def test_a_run_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), documents.unpublished(tmp_path):
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("broken", "verdict"),
    [
        ((), "Every expectation is met."),
        (("warning", "info"), "Every critical expectation is met; 2 others are not met."),
        (("critical", "info"), "Critical expectations that are not met: 1."),
    ],
)
def test_the_index_says_whether_it_may_be_signed_off(broken: tuple[Severity, ...], verdict: str) -> None:
    page = documents.index(SignOff("a database", AT, (outcome(*broken),), absent=(("runs", "runs"),)))

    assert verdict in page
    assert ("not to be signed off" in page) == ("critical" in broken)
    assert "absent before phase 1" in page
    assert "2026-01-02 03:04:05 UTC" in page


def test_values_of_the_users_rows_are_text_in_the_index_and_no_markup() -> None:
    page = documents.index(SignOff("a database", AT, (outcome("warning"),)))

    assert "&lt;b&gt;" in page
    assert "do &lt;this&gt;" in page
    assert "<b>" not in page
