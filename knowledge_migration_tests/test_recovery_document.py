"""Every command of docs/recovery.md runs as it stands there, and every command of recovery stands there."""

import re
import shlex
from pathlib import Path

from knowledge_migration.commands import recovery
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.recovery.ledger import examine_ledger
from knowledge_migration_tests.engine.backfill.backfilling import backfill, broken_rules, count, fill
from knowledge_migration_tests.knowledge.proposals.reviewing import approve, propose
from knowledge_migration_tests.recovering import PROJECT, command
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.flags import change_flags

DOCUMENT = (PROJECT / "docs" / "recovery.md").read_text()
NO_RUN = "00000000-0000-0000-0000-000000000000"


def commands() -> list[str]:
    """What a reader would type, one by one."""
    blocks = re.findall(r"^```bash\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return [line.removeprefix("knowledge-migration ") for block in blocks for line in block.splitlines()]


def test_every_command_of_the_document_runs_and_mends_its_accident(expanded: Database, tmp_path: Path) -> None:
    fill(expanded)
    backfill(expanded)
    with expanded.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        change_flags(expanded, {"dual_write": True, "enabled": True})
        first, _ = propose(expanded), propose(expanded)
        connection.execute("DELETE FROM feature_flags; DELETE FROM migration.backfill_batch WHERE id % 2 = 0")
        assert len(commands()) == 10
        for words in commands():
            done = command(expanded, *shlex.split(words), home=tmp_path, answer="y\n")
            assert done.returncode == 0, (words, done.stderr)
        assert count(connection, "SELECT count(*) FROM feature_flags WHERE version = 2") == 1
        assert count(connection, "SELECT count(*) FROM topic_proposals WHERE status = 'rejected'") == 1
        assert examine_ledger(connection).is_correct
        assert broken_rules(connection) == {}
        approve(expanded, *first.values())
        run = connection.execute(
            "SELECT extraction_run_id AS id FROM topic_proposals WHERE status = 'approved' "
            "AND review_action = 'approve'"
        ).fetchone()
        assert run
        words = next(words for words in commands() if "--run" in words).replace(NO_RUN, str(run["id"]))
        assert (
            "in review again, its row removed: 3"
            in command(expanded, *shlex.split(words), home=tmp_path, answer="y\n").stdout.rpartition("Now")[2]
        )
        assert broken_rules(connection) == {}


def test_recovery_of_flags_that_nobody_has_set_has_nothing_to_do(expanded: Database, tmp_path: Path) -> None:
    done = command(expanded, "recover", "flags", "--reason", "to see", home=tmp_path)
    assert (done.returncode, "The flags were never set" in done.stdout) == (0, True)


def test_every_command_of_recovery_is_in_the_document_and_has_an_example() -> None:
    named = {words.split()[1] for words in commands() if words.startswith("recover ")}
    assert named == {one.name for one in recovery.app.registered_commands}
    for one in recovery.app.registered_commands:
        assert "Example" in ((one.callback and one.callback.__doc__) or "")
