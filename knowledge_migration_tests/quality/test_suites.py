"""The folder of the user's suites: what is read, and what is refused with the file and the reason."""

import json
from pathlib import Path

import pytest

from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.quality.suites import read_suites

UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "name"}, "severity": "warning"}


def test_no_folder_is_no_suite() -> None:
    assert read_suites(None) == ()


def test_every_json_file_is_a_suite_of_its_name_and_other_files_are_not(tmp_path: Path) -> None:
    ours = {"table": "topics", "expectations": [UNIQUE]}
    exported = {
        "name": "what Great Expectations wrote", "id": None, "meta": {"great_expectations_version": "1.24.1"},
        "table": "billing.invoices", "expectations": [{**UNIQUE, "id": "1", "meta": {}, "description": "names differ"}],
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(ours))
    (tmp_path / "b.json").write_text(json.dumps(exported))
    (tmp_path / "README.md").write_text("not a suite")

    first, second = read_suites(tmp_path)

    assert (first.name, first.schema, first.table) == ("a", "public", "topics")
    assert (second.name, second.schema, second.table) == ("b", "billing", "invoices")
    assert first.expectations[0].rule == "expect column values to be unique: column name"
    assert second.expectations[0].rule == "names differ"
    assert first.expectations[0].severity == "warning"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no readable JSON"),
        ("[]", 'no object with a "table"'),
        ('{"expectations": []}', 'no object with a "table"'),
        ('{"table": "topics", "expectations": []}', 'no "expectations"'),
        ('{"table": "topics", "expectations": [{}]}', 'expectation 1 has no "type"'),
        ('{"table": "topics", "expectations": [{"type": "t"}]}', 'expectation 1 (t) has no "kwargs"'),
        (
            '{"table": "topics", "expectations": [{"type": "t", "kwargs": {}, "severity": "bad"}]}',
            "severity of its expectation 1 is none of critical, warning, info",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_the_reason(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text(text)

    with pytest.raises(PreconditionError, match=r"broken\.json") as raised:
        read_suites(tmp_path)

    assert reason in str(raised.value)


def test_a_folder_without_a_suite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"holds no \.json file"):
        read_suites(tmp_path)
