"""The rollbacks by flags: every process acknowledges, stranded proposals are replayed or parked, nothing is done twice."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import BlockedError, PreconditionError
from knowledge_migration.engine.rollback.flags import plan_rollback, roll_back
from knowledge_migration.engine.validation import rules
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.flag_rollback import FlagRollbackResult
from knowledge_migration.knowledge.flags import Flags, read_flags, set_flags
from knowledge_migration.knowledge.stages import STAGE_FLAGS
from knowledge_migration.settings import Settings
from knowledge_migration_tests.knowledge.conftest import FakeExtractor, atom, topic
from knowledge_migration_tests.serving import serving
from knowledge_migration_tests.support.fence_timeouts import BRIEF, PATIENT

MIXED = Extraction(
    topics=(topic("sure", 0.9), topic("unsure", 0.5)),
    atoms=(
        atom("of a sure topic", "sure", 0.8),
        atom("not sure itself", "sure", 0.6),
        atom("of an unsure topic", "unsure", 0.9),
    ),
)
STATUSES = """
SELECT name AS label, status, review_action FROM topic_proposals
UNION ALL SELECT title, status, review_action FROM atom_proposals ORDER BY label
"""


def set_(database: Database, **changes: Any) -> Flags:
    with database.begin() as transaction:
        return set_flags(transaction, changes, initial=Flags(), actor="a test", reason="a test")


def flags_of(database: Database) -> Flags:
    with database.begin() as transaction:
        found = read_flags(transaction)
    assert found is not None
    return found


def extract(url: str, user: int = 1, message: int = 1) -> dict[str, Any]:
    body = {"message_ids": sorted({1, message}), "user_id": user}
    answer = httpx.post(f"{url}/api/v1/knowledge/extract", json=body, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def back(database: Database, kind: Any = "instant", **options: Any) -> FlagRollbackResult:
    settings = Settings(fence=options.pop("timeouts", PATIENT))
    return roll_back(database, Flags(), settings, kind, reason="a test", **options)


def statuses(rows: Connection) -> dict[str, tuple[str, str | None]]:
    return {row["label"]: (row["status"], row["review_action"]) for row in rows.execute(STATUSES)}


def stranded_ones(rows: Connection) -> int:
    wanted = [rule for rule in rules.RULES if rule.file == "no_pending_proposal_is_stranded"]
    assert len(wanted) == 2
    return sum(rules.evaluate(rows, rule).count for rule in wanted)


@pytest.fixture
def url(peopled: Database) -> Iterator[str]:
    """A service in the last stage, with stranded proposals to be."""
    set_(peopled, **STAGE_FLAGS["full_cutover"], auto_approve_high_confidence=False)
    with serving(peopled, FakeExtractor(MIXED)) as address:
        assert extract(address)["mode"] == "proposal"
        yield address


def test_instant_replays_what_direct_mode_would_have_written_and_parks_the_rest(
    peopled: Database, rows: Connection, url: str
) -> None:
    done = back(peopled)
    assert statuses(rows) == {
        "sure": ("auto_approved", "replay"),
        "unsure": ("parked", "park"),
        "of a sure topic": ("auto_approved", "replay"),
        "not sure itself": ("parked", "park"),
        "of an unsure topic": ("parked", "park"),
    }
    assert (done.settled.replayed, done.settled.parked) == ({"topic": 1, "atom": 1}, {"topic": 1, "atom": 2})
    assert [row["name"] for row in rows.execute("SELECT name FROM topics")] == ["sure"]
    filed = rows.execute(
        "SELECT t.name, a.title FROM topic_atoms JOIN topics t ON t.id = topic_id JOIN atoms a ON a.id = atom_id"
    )
    assert [tuple(row.values()) for row in filed] == [("sure", "of a sure topic")]
    assert rows.execute("SELECT topic_id IS NOT NULL AS given FROM messages WHERE id = 1").fetchone() == {"given": True}
    assert stranded_ones(rows) == 0
    assert flags_of(peopled).state == "dual_write"
    assert extract(url, message=2)["mode"] == "dual_write"


def test_every_live_process_acknowledges_before_it_returns(peopled: Database, rows: Connection) -> None:
    set_(peopled, **STAGE_FLAGS["full_cutover"])
    with ExitStack() as stack:
        urls = [stack.enter_context(serving(peopled, FakeExtractor(MIXED))) for _ in range(3)]
        done = back(peopled)
        assert len(done.processes) == 3
        versions = rows.execute("SELECT DISTINCT flag_version AS v FROM migration.writer_heartbeat").fetchall()
        assert [row["v"] for row in versions] == [done.after.version]
        assert {extract(one, message=place + 1)["mode"] for place, one in enumerate(urls)} == {"dual_write"}


def test_a_stranded_proposal_breaks_the_rule_until_it_is_settled(peopled: Database, rows: Connection, url: str) -> None:
    set_(peopled, enabled=False)
    assert stranded_ones(rows) == 5
    back(peopled)
    assert stranded_ones(rows) == 0


def test_what_dual_write_left_for_review_is_not_stranded(peopled: Database, rows: Connection, url: str) -> None:
    back(peopled)
    set_(peopled, enabled=False, dual_write=True)
    extract(url, message=3)
    pending = "SELECT count(*) AS n FROM topic_proposals WHERE status = 'pending'"
    before = rows.execute(pending).fetchone()
    assert before == {"n": 1}
    back(peopled)
    assert rows.execute(pending).fetchone() == before


def test_what_a_reviewer_has_taken_back_is_parked(peopled: Database, rows: Connection, url: str) -> None:
    one = rows.execute("SELECT id FROM topic_proposals WHERE name = 'sure'").fetchone()
    assert one
    for action in ("reject", "undo"):
        httpx.post(f"{url}/api/v1/knowledge/proposals/{one['id']}/{action}", timeout=60).raise_for_status()
    back(peopled)
    assert statuses(rows)["sure"] == ("parked", "park")
    assert rows.execute("SELECT count(*) AS n FROM topics").fetchone() == {"n": 0}


def test_a_second_time_changes_nothing(peopled: Database, rows: Connection, url: str) -> None:
    back(peopled)
    audited = rows.execute("SELECT count(*) AS n FROM migration.audit_log").fetchone()
    again = back(peopled)
    assert again.before == again.after == flags_of(peopled)
    assert sum(again.settled.replayed.values()) == sum(again.settled.parked.values()) == 0
    assert rows.execute("SELECT count(*) AS n FROM migration.audit_log").fetchone() == audited


def test_two_operators_at_once_settle_each_proposal_once(peopled: Database, rows: Connection, url: str) -> None:
    for message in range(2, 12):
        extract(url, message=message)
    done: list[FlagRollbackResult] = []
    threads = [threading.Thread(target=lambda: done.append(back(peopled))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sum(one.settled.replayed.values()) + sum(one.settled.parked.values()) for one in done) == 11 * 5
    assert stranded_ones(rows) == 0
    rollbacks = "SELECT count(*) AS n FROM migration.audit_log WHERE action = 'rollback instant'"
    assert rows.execute(rollbacks).fetchone() == {"n": 1}


def test_partial_leaves_10_percent_and_strands_nothing(peopled: Database, rows: Connection, url: str) -> None:
    done = back(peopled, "partial")
    flags = flags_of(peopled)
    assert (flags.enabled, flags.dual_write, flags.cutover_percentage, flags.audience) == (True, True, 10, "everyone")
    assert done.settled.replayed == {}
    assert stranded_ones(rows) == 0
    assert {status for status, _ in statuses(rows).values()} == {"pending"}


def test_partial_is_refused_where_proposals_are_off(peopled: Database) -> None:
    set_(peopled, dual_write=True)
    with pytest.raises(PreconditionError, match="off already"):
        back(peopled, "partial")


def test_instant_is_refused_once_the_old_paths_are_retired(peopled: Database, url: str) -> None:
    set_(peopled, dual_write=False, legacy_paths_retired=True)
    with pytest.raises(PreconditionError, match="cleanup reopen"):
        back(peopled)
    assert flags_of(peopled).state == "full"


def test_instant_where_proposals_are_off_changes_no_flag(peopled: Database) -> None:
    before = set_(peopled, dual_write=False, cutover_percentage=3)
    done = back(peopled)
    assert done.after == before == flags_of(peopled)


def test_a_change_by_somebody_else_is_not_overwritten(peopled: Database, url: str) -> None:
    seen = flags_of(peopled)
    set_(peopled, cutover_percentage=50)
    with pytest.raises(PreconditionError, match="somebody changed them"):
        back(peopled, expected_version=seen.version)
    assert flags_of(peopled).cutover_percentage == 50


def test_an_older_transaction_is_named_and_the_flags_stay_set(peopled: Database, rows: Connection, url: str) -> None:
    with peopled.connect("a long report") as other, other.transaction():
        other.execute("SELECT 1")
        with pytest.raises(BlockedError, match="2 stranded proposals were replayed, 3 parked"):
            back(peopled, timeouts=BRIEF)
    assert flags_of(peopled).state == "dual_write"
    assert stranded_ones(rows) == 0


def test_the_plan_says_what_would_happen_and_changes_nothing(peopled: Database, rows: Connection, url: str) -> None:
    before = flags_of(peopled)
    plan = plan_rollback(peopled, Flags(), Settings(), "instant")
    assert plan.changes == {"enabled": False}
    assert (plan.stranded.waiting, plan.stranded.replayable) == ({"topic": 2, "atom": 3}, {"topic": 1, "atom": 2})
    assert len(plan.processes) == 1
    assert flags_of(peopled) == before
    assert stranded_ones(rows) == 0
