"""Runs the cases from public bug reports, which are beside the project, one after the other on one server.

Usage: make test-cases [CASES="c19 c58"], or python -m knowledge_migration_tests.cases [names] [--folder F] [--seconds 600].
Uses a server that answers on the port of the cases; otherwise it starts theirs and stops it. Exit code 1 if a case fails.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

PROJECT = Path(__file__).parents[1]
PORT = 55439
TOOLS = {"c21": "pgbouncer", "c31": "runuser"}
"""Programs without which cases with such a name cannot run."""

CHOICES = {"c05_audit_trigger": ("MIGRATION_TRIGGERS", "replica")}
"""Cases that expect success where the operator has to choose: without the setting the run must name it and end with FAIL."""


def main() -> int:
    """Runs the chosen cases; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of the names; all cases if omitted")
    beside = os.environ.get("CASES_FOLDER") or PROJECT.parent / "shared" / "cases"
    parser.add_argument("--folder", type=Path, default=Path(beside), help="the folder of the cases")
    parser.add_argument("--seconds", type=float, default=600.0, help="longest time of one case")
    given = parser.parse_args()
    cases = [one for one in cases_of(given.folder) if one.name.startswith(tuple(given.names) or "c")]
    if not cases:
        print(f"There is no such case in {given.folder}; nothing was run. CASES_FOLDER names another folder.")
        return int(bool(given.names))
    root = Path(os.environ.get("PGROOT") or Path(tempfile.gettempdir()) / "km_cases")
    environment = {**os.environ, "TOOL": str(PROJECT), "PGROOT": str(root), "PYTHONPATH": str(PROJECT)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    with _server(given.folder, environment):
        verdicts = [run(case, environment, root / "logs", given.seconds) for case in cases]
    print(f"{verdicts.count('PASS')} passed, {verdicts.count('FAIL')} failed, {verdicts.count('SKIP')} skipped")
    return int("FAIL" in verdicts)


def cases_of(folder: Path) -> Sequence[Path]:
    """The scripts of the cases by name."""
    return sorted(path for path in folder.glob("c[0-9]*") if path.suffix in (".py", ".sh"))


def run(case: Path, environment: Mapping[str, str], logs: Path, seconds: float) -> str:
    """Runs one case within a time limit and prints its line: PASS, FAIL (with its log) or SKIP (with the missing program).

    A case that needs a choice passes when it is refused without it, in words that name it, and passes with it.
    """
    tool = TOOLS.get(case.name[:3])
    if tool and not shutil.which(tool, path=f"{environment.get('PATH', '')}:/usr/sbin"):
        print(f"SKIP {case.stem}: {tool} is not installed", flush=True)
        return "SKIP"
    logs.mkdir(parents=True, exist_ok=True)
    log, started = logs / f"{case.stem}.log", time.monotonic()
    passed = _passes(case, environment, log, seconds)
    if case.stem in CHOICES:
        name, value = CHOICES[case.stem]
        refused = not passed and name in log.read_text(encoding="utf-8", errors="replace")
        # in lower case, which the settings accept: the cases remove variables in capitals
        passed = refused and _passes(case, {**environment, name.lower(): value}, log, seconds)
    verdict, where = ("PASS", "") if passed else ("FAIL", f", see {log}")
    print(f"{verdict} {case.stem} ({time.monotonic() - started:.0f} s{where})", flush=True)
    return verdict


def _passes(case: Path, environment: Mapping[str, str], log: Path, seconds: float) -> bool:
    """Whether the script ends in time with its verdict PASS and exit code 0."""
    if case.suffix == ".sh":  # it calls the server's own programs
        environment = {**environment, "LD_LIBRARY_PATH": f"{environment['PGROOT']}/pg18/lib"}
    command = [sys.executable if case.suffix == ".py" else "bash", case.name]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=case.parent, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            passed = process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            passed = False
            output.write(f"stopped after {seconds:g} s\n")
        finally:
            _end(process)
    return passed and "VERDICT: PASS" in log.read_text(encoding="utf-8", errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the case with the commands that it has started, which have sessions of their own."""
    if process.poll() is None:
        for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            one.kill()
        process.wait()


@contextmanager
def _server(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A server for the cases while the block runs; one that runs already stays."""
    with socket.socket() as probe:
        runs = probe.connect_ex(("127.0.0.1", PORT)) == 0
    if runs:
        yield
        return
    subprocess.run(["bash", "server.sh", "start"], cwd=folder, env=environment, check=True)
    try:
        yield
    finally:
        subprocess.run(
            ["bash", "server.sh", "stop"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
        )


if __name__ == "__main__":
    sys.exit(main())
