"""The model of the protocol: no property is violated, and each fault of the table in docs/concepts.md violates its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
CONCEPTS = (PROJECT / "docs" / "concepts.md").read_text(encoding="utf-8")
FAULTS: dict[str, str] = {
    fault: rule for rule, fault in re.findall(r"^\| ([^|]+) \| `([A-Z_0-9]+)` \|", CONCEPTS, re.MULTILINE)
}
COMMANDS = re.findall(r"^make model.*$", CONCEPTS, re.MULTILINE)
SHOWN_FAULT = COMMANDS[1].partition("=")[2]
SECONDS = 600

needs_spin = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")) and "TESTS_INSIST" not in os.environ,
    reason="needs Spin and a C compiler (Debian's packages spin and gcc)",
)


def run(*command: str) -> tuple[int, str]:
    """The exit code of a command in the project, and its last line of output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr
    return done.returncode, lines[-1]


@needs_spin
@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {SHOWN_FAULT}))
def test_the_checker_finds_the_fault(fault: str) -> None:
    assert run("model/check", fault) == (1, f"Violated: {FAULTS[fault]}")


@needs_spin
def test_no_order_of_the_steps_violates_a_property_and_the_command_of_the_page_finds_its_fault() -> None:
    unchanged, faulty = (run(*command.split()) for command in COMMANDS)
    assert unchanged[0] == 0, unchanged
    assert unchanged[1].startswith("No property is violated")
    assert faulty == (2, f"Violated: {FAULTS[SHOWN_FAULT]}")


def test_the_page_lists_the_faults_of_the_model() -> None:
    model = (PROJECT / "model" / "protocol.pml").read_text(encoding="utf-8")
    assert set(re.findall(r"^ \*   ([A-Z_0-9]+) ", model, re.MULTILINE)) == set(FAULTS)
    assert set(re.findall(r"^#ifn?def ([A-Z_0-9]+)$", model, re.MULTILINE)) == set(FAULTS)
