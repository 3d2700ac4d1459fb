"""What a reviewer sees of one proposal: where it comes from, what it resembles, who decided, what to be careful about."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC
from knowledge_migration.knowledge.errors import UnknownError
from knowledge_migration.knowledge.extraction.model import Extraction
from knowledge_migration.knowledge.proposals import review, undo
from knowledge_migration.knowledge.proposals.explaining import LONGEST_COMPARED, Part, differences, parts_of
from knowledge_migration.knowledge.proposals.listing import one_proposal
from knowledge_migration.knowledge.proposals.proposal_detail import (
    ProposalDetail,
    ProposedTopic,
    RunSeen,
    Thresholds,
    proposal_detail,
)
from knowledge_migration.knowledge.proposals.review import Reviewer
from knowledge_migration.knowledge.proposals.stranded import settle
from knowledge_migration.knowledge.writing.manual_edits import record_origin
from knowledge_migration_tests.engine.backfill.backfilling import backfill
from knowledge_migration_tests.knowledge.conftest import atom, topic
from knowledge_migration_tests.knowledge.proposals.reviewing import SYSTEM, approve, decide, propose, table

TARGETS = """
INSERT INTO topics (name, description, icon, color) VALUES ('target', 'about all backups', NULL, '#64748B');
INSERT INTO atoms (type, title, content, user_approved, confidence, meta)
VALUES ('insight', 'target', 'as it is', false, NULL, '{"b": 1, "a": [1]}');
"""


@pytest.fixture
def proposed(peopled: Database) -> dict[str, UUID]:
    """One topic and two linked atoms that wait."""
    return propose(peopled)


@pytest.fixture
def look(peopled: Database) -> Any:
    """Looks at a proposal in a transaction of its own."""

    def looked(proposal_id: UUID, *thresholds: Thresholds) -> ProposalDetail:
        with peopled.begin() as transaction:
            return proposal_detail(transaction, proposal_id, *thresholds)

    return looked


def flag(rows: Connection, name: str, kind: str = "spelling", score: float = 0.84, *, entity: int | None = 1) -> None:
    """Says what the search for duplicates would have said."""
    rows.execute(
        "UPDATE topic_proposals SET similar_topic_id = %s, similarity_score = %s, similarity_type = %s WHERE name = %s",
        (entity, score, kind, name),
    )
    rows.execute(
        "UPDATE atom_proposals SET similar_atom_id = %s, similarity_score = %s, similarity_type = %s WHERE title = %s",
        (entity, score, kind, name),
    )


def shown(parts: tuple[Part, ...]) -> str:
    """Parts on one line."""
    marks = {"same": "{}", "removed": "-[{}]", "added": "+[{}]"}
    return "".join(marks[part.how].format(part.text) for part in parts)


# A proposal that waits.


def test_a_topic_that_waits_is_seen_with_its_run_and_its_own_messages(
    look: Any, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    seen = look(proposed["backups"])
    assert (seen.kind, seen.proposal) == (TOPIC, one_proposal(sql, proposed["backups"]))
    made = sql.exec_driver_sql("SELECT id, created_at FROM knowledge_extraction_runs").one()
    assert seen.run == RunSeen(made.id, made.created_at, "told", "proposal", 3)
    assert [(one.id, one.content, one.author) for one in seen.messages] == [
        (1, "message 1", "user 2"),
        (2, "message 2", "user 3"),
    ]
    assert (seen.message_total, seen.messages_are_of) == (2, "proposal")
    assert (seen.topics, seen.similar, seen.similar_gone, seen.why) == ((), None, False, "")
    assert (seen.decided, seen.entity) == (None, None)


def test_an_atom_that_waits_is_seen_with_the_messages_in_its_meta_and_its_proposed_topic(
    look: Any, proposed: dict[str, UUID]
) -> None:
    seen = look(proposed["restore"])
    assert (seen.kind, [one.id for one in seen.messages], seen.messages_are_of) == (ATOM, [1], "proposal")
    assert seen.topics == (ProposedTopic(str(proposed["backups"]), "backups", "pending"),)


def test_an_unknown_proposal_is_refused(look: Any) -> None:
    with pytest.raises(UnknownError, match="no proposal"):
        look(uuid4())


# Messages.


def test_at_most_twenty_messages_are_shown_the_oldest_first_and_all_are_counted(
    peopled: Database, rows: Connection, look: Any
) -> None:
    rows.execute("UPDATE messages SET sent_at = '2026-01-01' WHERE id IN (7, 9)")
    proposed = propose(peopled, Extraction(topics=(topic("all", messages=[*range(40, 0, -1), 7, 7]),)))
    seen = look(proposed["all"])
    assert [one.id for one in seen.messages] == [7, 9, *(n for n in range(1, 21) if n not in (7, 9))]
    assert seen.message_total == 40


@pytest.mark.parametrize("stated", ["NULL", "'[]'", "'null'", "'{}'", "'[true, \"1\", 1.5, 99999999999999999999]'"])
def test_a_proposal_that_names_no_message_shows_those_of_its_run(
    peopled: Database, rows: Connection, look: Any, stated: str
) -> None:
    proposed = propose(peopled)
    rows.execute(f"UPDATE topic_proposals SET message_ids = {stated}")  # type: ignore[arg-type]  # noqa: S608
    meta = f"jsonb_build_object('message_ids', {stated}::jsonb)"
    rows.execute(f"UPDATE atom_proposals SET meta = {meta} WHERE title = 'restore'")  # type: ignore[arg-type]  # noqa: S608
    rows.execute("UPDATE atom_proposals SET meta = '[1, 2]' WHERE title = 'rehearse'")
    for key in proposed.values():
        seen = look(key)
        assert ([one.id for one in seen.messages], seen.messages_are_of) == ([1, 2, 3], "run")


def test_deleted_messages_are_fewer_and_said_to_be(rows: Connection, look: Any, proposed: dict[str, UUID]) -> None:
    rows.execute("DELETE FROM messages WHERE id = 2")
    seen = look(proposed["backups"])
    assert ([one.id for one in seen.messages], seen.message_total) == ([1], 1)
    assert "1 of the 2 messages it comes from was deleted." in seen.doubt
    rows.execute("DELETE FROM messages; UPDATE atom_proposals SET meta = NULL")
    assert "Both messages it comes from were deleted." in look(proposed["backups"]).doubt
    seen = look(proposed["restore"])
    assert (seen.messages, seen.message_total, seen.messages_are_of) == ((), 0, "run")
    assert "All 3 messages of its extraction were deleted." in seen.doubt


def test_the_author_is_the_users_full_name(rows: Connection, look: Any, proposed: dict[str, UUID]) -> None:
    rows.execute("UPDATE users SET first_name = 'Ada', last_name = 'Byron' WHERE id = 2")
    assert [one.author for one in look(proposed["backups"]).messages] == ["Ada Byron", "user 3"]


@pytest.mark.parametrize("settings_of_the_run", [None, "[]", '"x"', '{"mode": "dual_write"}'])
def test_a_run_that_says_little_of_itself_is_shown_with_what_it_says(
    rows: Connection, look: Any, proposed: dict[str, UUID], settings_of_the_run: str | None
) -> None:
    rows.execute("UPDATE knowledge_extraction_runs SET settings = %s::jsonb", (settings_of_the_run,))
    run = look(proposed["backups"]).run
    mode = "dual_write" if "dual" in (settings_of_the_run or "") else None
    assert (run.extractor, run.mode, run.message_count) == (None, mode, 3)


# Topics of an atom.


def test_each_proposed_topic_says_what_has_become_of_it(
    peopled: Database, rows: Connection, look: Any, proposed: dict[str, UUID]
) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('target', ''), ('doomed', '')")
    names = ("rejected", "approved", "merged", "undone", "parked", "matched", "deleted", "merged away", "automatic")
    other = propose(peopled, Extraction(topics=tuple(topic(name) for name in names)))
    decide(peopled, review.reject, other["rejected"])
    decide(peopled, review.merge, other["merged"], 1)
    decide(peopled, review.merge, other["merged away"], 2)
    decide(peopled, review.park, other["parked"])
    approve(peopled, other["approved"], other["undone"])
    decide(peopled, undo.undo, other["undone"])
    rows.execute("INSERT INTO topics (name, description) VALUES ('matched', '')")
    approve(peopled, other["matched"], other["deleted"])
    with peopled.begin() as transaction:
        review.approve(transaction, other["automatic"], SYSTEM, status="auto_approved")
    rows.execute("UPDATE messages SET topic_id = NULL; DELETE FROM topics WHERE name IN ('doomed', 'deleted')")
    references = [1, 77, True, "nonsense", str(uuid4()), *(str(other[name]) for name in names), {"a": 1}, None]
    rows.execute(
        "UPDATE atom_proposals SET proposed_topic_ids = %s::jsonb WHERE title = 'restore'", (json.dumps(references),)
    )
    assert [(one.name, one.state) for one in look(proposed["restore"]).topics] == [
        ("target", "topic"), (None, "gone"), (None, "gone"), (None, "gone"),
        ("rejected", "rejected"), ("approved", "approved"), ("merged", "merged"), ("undone", "pending"),
        ("parked", "parked"), ("matched", "approved"), ("deleted", "gone"), ("merged away", "gone"),
        ("automatic", "approved"),
    ]  # fmt: skip
    assert look(proposed["restore"]).topics[0].reference == 1


# What it is similar to.


def test_a_similar_topic_is_shown_with_what_differs(
    rows: Connection, look: Any, proposed: dict[str, UUID], sql: sa.Connection
) -> None:
    rows.execute(TARGETS)
    flag(rows, "backups")
    seen = look(proposed["backups"])
    assert (seen.similar.id, seen.similar.score, seen.similar.type, seen.similar_gone) == (1, 0.84, "spelling", False)
    assert seen.similar.values == {
        "name": "target", "description": "about all backups", "icon": None, "color": "#64748B",
    }  # fmt: skip
    dated = sql.exec_driver_sql("SELECT created_at, updated_at FROM topics").one()
    assert (seen.similar.created_at, seen.similar.updated_at) == tuple(dated)
    assert {one.field: shown(one.parts) for one in seen.similar.differences} == {
        "name": "-[target]+[backups]",
        "description": "about -[all ]backups",
        "icon": f"+[{seen.proposal['icon']}]",
        "color": shown(parts_of("#64748B", seen.proposal["color"])),
    }
    assert [one.same for one in seen.similar.differences[:3]] == [False, False, False]
    assert seen.entity is None


def test_a_similar_atom_is_compared_without_its_confidence_and_its_meta_as_text(
    rows: Connection, look: Any, proposed: dict[str, UUID]
) -> None:
    rows.execute(TARGETS)
    flag(rows, "restore", "meaning", 0.931)
    rows.execute('UPDATE atom_proposals SET meta = \'{"a": [1], "b": 2}\'')
    found = {one.field: one for one in look(proposed["restore"]).similar.differences}
    assert list(found) == ["type", "title", "content", "meta"]
    assert found["type"].same
    assert shown(found["meta"].parts) == '{\n  "a": [\n    1\n  ],\n  "b": -[1]+[2]\n}'
    rows.execute("UPDATE atoms SET meta = NULL; UPDATE atom_proposals SET meta = NULL")
    assert look(proposed["restore"]).similar.differences[3].same
    rows.execute("UPDATE atoms SET meta = 'null'")
    assert look(proposed["restore"]).similar.differences[3].same
    rows.execute("UPDATE atoms SET meta = '\"\"'")
    assert not look(proposed["restore"]).similar.differences[3].same


def test_a_legacy_meta_that_no_page_could_show_is_shown_as_it_is_stored(
    rows: Connection, look: Any, proposed: dict[str, UUID]
) -> None:
    rows.execute(TARGETS)
    rows.execute(r"""UPDATE atoms SET meta = '{"half": "\ud83d", "nul": "\u0000", "whole": "\ud83d\ude00"}'""")
    flag(rows, "restore")
    text = shown(look(proposed["restore"]).similar.differences[3].parts)
    assert r'"\ud83d"' in text
    assert r'"\u0000"' in text
    assert r'"\ud83d\ude00"' in text
    assert text.encode()


def test_a_similar_row_that_was_deleted_is_gone(rows: Connection, look: Any, proposed: dict[str, UUID]) -> None:
    rows.execute(TARGETS)
    flag(rows, "backups")
    rows.execute("DELETE FROM topics")
    seen = look(proposed["backups"])
    assert (seen.similar, seen.similar_gone) == (None, True)
    assert seen.why == "The topic that it was similar to has been deleted since."
    assert not any("similar" in one for one in seen.doubt)


SAID = {
    ("exact", 1.0, "backups"): "A topic of exactly this name exists; description and color differ.",
    (
        "exact",
        1.0,
        "renamed",
    ): "When it was compared, there was a topic of exactly this name, which has another one now; "
    "name, description and color differ.",
    ("spelling", 0.99, " BACKUPS"): "A topic of this name exists, but for upper and lower case or blanks (99 % alike); "
    "name, description and color differ.",
    (
        "spelling",
        0.8461,
        "backup",
    ): "A topic exists whose name is spelled 84 % alike, by the groups of three letters that "
    "both have or by their letters and digits in a row; name, description and color differ.",
    (
        "meaning",
        0.931,
        "copies",
    ): "A topic exists whose name means nearly the same: 93 % alike, by the angle between the "
    "embeddings of the two (cosine); name, description and color differ.",
}


@pytest.mark.parametrize(("kind", "score", "name"), list(SAID))
def test_why_it_was_flagged_is_said_in_one_plain_sentence(
    rows: Connection, look: Any, proposed: dict[str, UUID], kind: str, score: float, name: str
) -> None:
    rows.execute("INSERT INTO topics (name, description, icon) VALUES (%s, 'x', NULL)", (name,))
    rows.execute("UPDATE topics SET icon = (SELECT icon FROM topic_proposals)")
    flag(rows, "backups", kind, score)
    assert look(proposed["backups"]).why == SAID[kind, score, name]


def test_a_row_that_differs_in_one_thing_or_in_nothing_is_said_to(
    rows: Connection, look: Any, proposed: dict[str, UUID]
) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, meta, user_approved) "
        "SELECT type, title, content, meta, false FROM atom_proposals WHERE title = 'restore'"
    )
    flag(rows, "restore", "exact", 1.0)
    assert look(proposed["restore"]).why == "An atom of exactly this title exists; nothing differs."
    rows.execute("UPDATE atoms SET content = ''")
    assert look(proposed["restore"]).why == "An atom of exactly this title exists; content differs."


# Decisions.


def test_an_approved_proposal_says_who_decided_and_what_it_became(
    peopled: Database, rows: Connection, look: Any, proposed: dict[str, UUID]
) -> None:
    rows.execute("UPDATE users SET first_name = 'Ada', last_name = 'Byron' WHERE id = 1")
    approve(peopled, proposed["backups"], proposed["restore"])
    seen = look(proposed["backups"])
    assert seen.entity == {"id": 1, **{name: seen.proposal[name] for name in TOPIC.values}}
    assert (seen.decided.by, seen.decided.action, seen.decided.status, seen.decided.notes, seen.decided.automatic) == (
        "Ada Byron", "approve", "approved", "looks right", False,
    )  # fmt: skip
    assert seen.decided.at == seen.proposal["reviewed_at"]
    assert seen.doubt == ()
    assert look(proposed["restore"]).entity["meta"] == {"source": "llm_extraction", "message_ids": [1]}
    assert [one.state for one in look(proposed["restore"]).topics] == ["approved"]


def test_a_decision_without_a_user_was_made_by_the_actor_of_the_audit_log(
    peopled: Database, look: Any, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["backups"], reviewer=SYSTEM)
    decided = look(proposed["backups"]).decided
    assert (decided.by, decided.action, decided.status, decided.notes) == ("a test", "reject", "rejected", None)


def test_a_user_who_is_gone_is_called_what_the_audit_log_calls_them(
    peopled: Database, rows: Connection, look: Any, proposed: dict[str, UUID]
) -> None:
    decide(peopled, review.reject, proposed["backups"], reviewer=Reviewer("a test", 20))
    rows.execute("DELETE FROM messages; DELETE FROM users WHERE id = 20")
    assert look(proposed["backups"]).decided.by == "a test, user 20"


def test_what_nobody_decided_is_automatic(peopled: Database, rows: Connection, look: Any) -> None:
    rows.execute("INSERT INTO topics (name, description) VALUES ('legacy', 'x')")
    rows.execute(TARGETS)
    backfill(peopled)
    rows.execute("INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'by hand', '', true)")
    with peopled.begin() as transaction:
        manual_edit = record_origin(transaction, ATOM, 2, "a process")
    proposed = propose(peopled, Extraction(topics=(topic("sure", 0.9), topic("weak", 0.5), topic("done", 0.5))))
    with peopled.begin() as transaction:
        review.approve(transaction, proposed["done"], Reviewer("auto-approval"), status="auto_approved")
    with peopled.engine() as engine:
        settle(engine, 0.7, actor="operator", reason="back to direct mode")
    ((backfilled,),) = table(rows, "SELECT id FROM topic_proposals WHERE name = 'legacy'")
    seen = {name: look(key).decided for name, key in {**proposed, "legacy": backfilled, "by hand": manual_edit}.items()}
    assert {name: (one.by, one.action, one.automatic) for name, one in seen.items()} == {
        "sure": ("operator", "replay", True),
        "weak": ("operator", "park", True),
        "done": ("auto-approval", "auto_approve", True),
        "legacy": ("the system", "auto_approve_migration", True),
        "by hand": ("the system", "dual_write", True),
    }
    legacy = look(backfilled)
    assert (legacy.entity["name"], legacy.messages, legacy.messages_are_of, legacy.doubt) == ("legacy", (), "run", ())


@pytest.mark.parametrize("state", ["merged", "matched", "rejected", "parked", "undone", "undone approval", "deleted"])
def test_every_state_can_be_looked_at(
    peopled: Database, rows: Connection, look: Any, proposed: dict[str, UUID], state: str
) -> None:
    rows.execute(TARGETS)
    key = proposed["backups"]
    if state == "merged":
        decide(peopled, review.merge, key, 1)
    elif state == "matched":
        rows.execute("UPDATE topics SET name = 'backups'")
        approve(peopled, key)
    elif state in ("rejected", "undone"):
        decide(peopled, review.reject, key)
    elif state == "parked":
        decide(peopled, review.park, key)
    else:
        approve(peopled, key)
    if state in ("undone", "undone approval"):
        decide(peopled, undo.undo, key)
    if state == "deleted":
        rows.execute("UPDATE messages SET topic_id = NULL; DELETE FROM topics WHERE name = 'backups'")
    seen = look(key)
    status = {"matched": "approved", "undone": "pending", "undone approval": "pending", "deleted": "approved"}.get(
        state, state
    )
    assert seen.proposal["status"] == status
    assert (seen.decided is None) == ("undone" in state)
    assert (seen.entity or {}).get("id") == (1 if state in ("merged", "matched") else None)
    assert (seen.similar is not None) == (state in ("merged", "matched"))
    undone = "Its last decision was undone (“looks right”); only a reviewer can approve it."
    assert (undone in seen.doubt) == ("undone" in state)
    assert bool(seen.doubt) == ("undone" in state or state == "parked")
    if state == "merged":
        assert seen.why.startswith("A reviewer said that this topic is meant; name, ")


# Doubts.


def test_what_a_reviewer_should_be_careful_about_is_said_in_plain_words(
    peopled: Database, rows: Connection, look: Any
) -> None:
    rows.execute(TARGETS)
    proposed = propose(
        peopled,
        Extraction(
            topics=(topic("fine", 0.7, reasoning="named often"), topic("bad", 0.699, (1, 201))),
            atoms=(
                atom("well", "fine", 0.95, reasoning="said twice"),
                atom("similar", "fine", 0.955, reasoning="said twice"),
                atom("lost", "bad", 0.9, reasoning="  "),
            ),
        ),
    )
    decide(peopled, review.reject, proposed["bad"])
    decide(peopled, undo.undo, proposed["bad"])
    flag(rows, "similar")
    assert look(proposed["fine"]).doubt == ()
    assert look(proposed["fine"], Thresholds(direct=0.8)).doubt == ("Its confidence of 70 % is low: below 80 %.",)
    assert look(proposed["well"]).doubt == ()
    assert look(proposed["similar"]).doubt == (
        "It is similar to an existing atom, so a person has to decide, whatever its confidence (95 %).",
    )
    assert look(proposed["similar"], Thresholds(auto_approve=0.96)).doubt == ("It is similar to an existing atom.",)
    assert look(proposed["bad"]).doubt == (
        "Its confidence of 69 % is low: below 70 %.",
        "The extractor gave no reason for it.",
        "Its last decision was undone (“looks right”); only a reviewer can approve it.",
        "1 of the 2 messages it comes from was deleted.",
    )
    decide(peopled, review.reject, proposed["bad"])
    assert look(proposed["lost"]).doubt == (
        "The extractor gave no reason for it.",
        "The topic 'bad' that it belongs to was rejected.",
    )
    rows.execute("UPDATE atom_proposals SET proposed_topic_ids = '[77]'")
    assert look(proposed["well"]).doubt == ("A topic that it belongs to does not exist any more.",)


# Few statements.


@contextmanager
def counted(connection: sa.Connection) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sa.event.listen(connection, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(connection, "before_cursor_execute", note)


def test_a_look_takes_five_statements_at_most_and_scans_no_large_table(
    peopled: Database, rows: Connection, sql: sa.Connection, proposed: dict[str, UUID]
) -> None:
    rows.execute(
        "INSERT INTO atoms (type, title, content, user_approved) "
        "SELECT 'insight', 'atom ' || n, '', false FROM generate_series(1, 3000) AS n; "
        "INSERT INTO topics (name, description) SELECT 'topic ' || n, '' FROM generate_series(1, 3000) AS n; "
        "INSERT INTO messages (external_message_id, content, sent_at, source_id, author_id, analyzed) "
        "SELECT 'n' || n, '', now(), 1, 1, false FROM generate_series(1, 3000) AS n; "
        "INSERT INTO migration.audit_log (actor, action, subject) "
        "SELECT 'b', 'reject proposal', 'topic proposal ' || gen_random_uuid() FROM generate_series(1, 3000)"
    )
    for statement in (
        "INSERT INTO topic_proposals (extraction_run_id, name, description, confidence) "
        "SELECT id, 'topic ' || n, '', 0.5 FROM knowledge_extraction_runs, generate_series(1, 3000) AS n",
        "INSERT INTO atom_proposals (extraction_run_id, type, title, content, confidence) "
        "SELECT id, 'insight', 'topic ' || n, '', 0.5 FROM knowledge_extraction_runs, generate_series(1, 3000) AS n",
        "ANALYZE",
    ):
        rows.execute(statement)  # type: ignore[arg-type]
    flag(rows, "restore", entity=7)
    approve(peopled, *proposed.values())
    rows.execute("UPDATE atom_proposals SET proposed_topic_ids = proposed_topic_ids || '[1]' WHERE title = 'restore'")
    with counted(sql) as sent:
        seen = proposal_detail(sql, proposed["restore"])
    assert len(sent) == 5
    assert (seen.similar is not None, seen.decided is not None, len(seen.topics), len(seen.messages)) == (
        True,
        True,
        2,
        1,
    )
    large = ("topics", "atoms", "messages", "topic_proposals", "atom_proposals", "migration.audit_log")
    scans = {
        name: sql.exec_driver_sql(f"SELECT pg_stat_get_xact_numscans('{name}'::regclass)").scalar_one()
        for name in large
    }
    assert scans == dict.fromkeys(large, 0)


# Differences.


@settings(max_examples=300)
@given(st.text(), st.text())
def test_the_parts_join_to_both_texts(existing: str, proposed: str) -> None:
    joins(existing, proposed)


SIGNS = ["a", "b", "שלום", "مرحبا", "👩‍👩‍👧", "é", "e\u0301", "\u200f", " ", "  ", "\n", "\r\n", "\u00a0", "\t"]
WORDS = st.lists(st.sampled_from(SIGNS))


@settings(max_examples=300)
@given(WORDS.map("".join), WORDS.map("".join))
def test_the_parts_of_texts_that_share_words_join_to_both_texts(existing: str, proposed: str) -> None:
    joins(existing, proposed)


def joins(existing: str, proposed: str) -> None:
    parts = parts_of(existing, proposed)
    assert "".join(part.text for part in parts if part.how != "removed") == proposed
    assert "".join(part.text for part in parts if part.how != "added") == existing
    assert all(part.text for part in parts)
    assert all(one.how != next_one.how for one, next_one in pairwise(parts))
    if existing == proposed:
        assert all(part.how == "same" for part in parts)


@pytest.mark.parametrize(
    ("existing", "proposed", "expected"),
    [
        ("the quick fox", "the slow fox jumps", "the -[quick]+[slow] fox+[ jumps]"),
        ("one two", "one  two", "one-[ ]+[  ]two"),
        ("", "new", "+[new]"),
        ("old", "", "-[old]"),
        ("", "", ""),
        ("same\n", "same\n", "same\n"),
        (" x", "x", "-[ ]x"),
        ("שלום עולם", "שלום רב", "שלום -[עולם]+[רב]"),
        ("family 👩‍👩‍👧 x", "family 👩‍👩‍👦 x", "family -[👩‍👩‍👧]+[👩‍👩‍👦] x"),
    ],
)
def test_texts_are_compared_word_by_word(existing: str, proposed: str, expected: str) -> None:
    assert shown(parts_of(existing, proposed)) == expected


def test_long_texts_and_those_of_one_word_over_and_over_are_compared_as_wholes() -> None:
    half = "word " * (LONGEST_COMPARED // 10)
    varied = " ".join(str(number) for number in range(2_000))
    assert [part.how for part in parts_of(varied, varied + " x")] == ["same", "added"]
    assert parts_of("x" + half, "y" + half) == (Part("removed", "x" + half), Part("added", "y" + half))
    assert [part.how for part in parts_of("a " * 3_000, "b " + "a " * 2_999)] == ["removed", "added"]
    assert parts_of(half * 9, half * 9) == (Part("same", half * 9),)


def test_nothing_and_an_empty_text_read_the_same_and_are_not() -> None:
    values = {"name": "a", "description": "b", "icon": None, "color": None}
    found = {one.field: (one.same, one.parts) for one in differences(TOPIC, values, values | {"icon": ""})}
    assert found["icon"] == (False, ())
    assert found["color"] == (True, ())
    assert found["name"] == (True, (Part("same", "a"),))
