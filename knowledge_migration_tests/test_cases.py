"""The runner of the cases: a case passes only by its verdict and its exit code, and none runs for ever."""

from pathlib import Path

import psutil
import pytest

from knowledge_migration_tests import cases

SCRIPTS = {
    "c01_passes.py": "print('VERDICT: PASS')",
    "c02_fails.py": "print('VERDICT: FAIL'); raise SystemExit(1)",
    "c03_says_nothing.py": "print('done')",
    "c04_ends_early.py": "print('VERDICT: PASS'); raise SystemExit(2)",
    "c05_hangs.py": "import subprocess; subprocess.run(['sleep', '4711'], start_new_session=True)",
    "c06_shell.sh": "echo 'VERDICT: PASS'",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of cases whose server runs already; its logs go to another folder."""
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(script, encoding="utf-8")
    (tmp_path / "server.sh").write_text("exit 0", encoding="utf-8")
    monkeypatch.setenv("CASES_FOLDER", str(tmp_path))
    monkeypatch.setenv("PGROOT", str(tmp_path / "root"))
    return tmp_path


def lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, list[str]]:
    """The exit code, and each line without times."""
    monkeypatch.setattr("sys.argv", ["cases", *arguments])
    code = cases.main()
    return code, [line.partition(" (")[0] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("folder")
def test_each_case_has_a_line_and_a_failed_one_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = lines(monkeypatch, capsys, "--seconds", "3")
    failed = ["FAIL c02_fails", "FAIL c03_says_nothing", "FAIL c04_ends_early", "FAIL c05_hangs"]
    assert (code, output) == (1, ["PASS c01_passes", *failed, "PASS c06_shell", "2 passed, 4 failed, 0 skipped"])
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "4711"]]


@pytest.mark.usefixtures("folder")
def test_chosen_cases_run_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["PASS c01_passes", "PASS c06_shell", "2 passed, 0 failed, 0 skipped"]
    assert lines(monkeypatch, capsys, "c01", "c06") == (0, chosen)


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("print('set CHOICE first'); raise SystemExit(1)", "FAIL"),
        ("print('VERDICT: PASS')", "FAIL"),
        ("import os; print('VERDICT: PASS') if 'choice' in os.environ else exit('broken')", "FAIL"),
        ("import os; print('VERDICT: PASS') if 'choice' in os.environ else exit('set CHOICE first')", "PASS"),
    ],
    ids=["never", "without it", "for another reason", "with it only"],
)
def test_a_case_that_needs_a_choice_passes_with_it_and_is_refused_in_words_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, verdict: str
) -> None:
    (folder / "c01_passes.py").write_text(script, encoding="utf-8")
    monkeypatch.setattr(cases, "CHOICES", {"c01_passes": ("CHOICE", "yes")})
    assert lines(monkeypatch, capsys, "c01")[1][0] == f"{verdict} c01_passes"


def test_a_case_without_its_program_is_skipped_with_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cases, "TOOLS", {"c01": "no_such_program"})
    assert lines(monkeypatch, capsys, "c01") == (
        0,
        ["SKIP c01_passes: no_such_program is not installed", "0 passed, 0 failed, 1 skipped"],
    )


def test_a_missing_folder_is_named_and_fails_only_a_run_of_chosen_cases(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CASES_FOLDER", str(folder / "missing"))
    code, output = lines(monkeypatch, capsys)
    assert code == 0
    assert str(folder / "missing") in output[0]
    assert lines(monkeypatch, capsys, "c01")[0] == 1
