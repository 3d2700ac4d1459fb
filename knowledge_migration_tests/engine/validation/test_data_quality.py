"""Each finding with one row per kind of violation, beside rows that are clean: exactly the violating rows are found."""

import gzip
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql
from psycopg.types.json import Json

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.observability.plots import bar_of_findings
from knowledge_migration.engine.validation import similarity_join
from knowledge_migration.engine.validation.data_quality import FINDINGS, DataQualityReport, FindingResult, report
from knowledge_migration.knowledge.tables import ATOM_TYPES, LINK_TYPES
from knowledge_migration_tests.conftest import SHARED_DATA

EMBEDDING = "[" + ",".join(["0.5"] * 1536) + "]"
TOPIC = {"description": "What it is about.", "icon": "FolderIcon", "color": "#64748B"}
ATOM = {
    "type": "insight",
    "content": "Something was learnt.",
    "confidence": 0.8,
    "user_approved": False,
    "meta": Json({"source": "llm_extraction"}),
    "embedding": EMBEDDING,
}
LINK = {"link_type": "supports"}


def insert(connection: Connection, table: str, **values: Any) -> None:
    """One row of a legacy table."""
    columns = sql.SQL(", ").join(map(sql.Identifier, values))
    marks = sql.SQL(", ").join(map(sql.Placeholder, values))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), columns, marks)
    connection.execute(statement, values)


def topic(connection: Connection, id: int, name: str, *, atom: int | None = 1, **values: Any) -> None:
    """A topic that is clean but for what is given; `atom` is the atom that belongs to it."""
    insert(connection, "topics", **{"id": id, "name": name, **TOPIC, **values})
    if atom is not None:
        insert(connection, "topic_atoms", topic_id=id, atom_id=atom)


def atom(connection: Connection, id: int, *, title: str = "", topic_id: int | None = 1, **values: Any) -> None:
    """An atom that is clean but for what is given; `topic_id` is the topic that it belongs to."""
    insert(connection, "atoms", **{"id": id, "title": title or f"Atom {id}", **ATOM, **values})
    if topic_id is not None:
        insert(connection, "topic_atoms", topic_id=topic_id, atom_id=id)


def alter(connection: Connection, *statements: str) -> None:
    """Changes the schema as a user's own may differ from the legacy one."""
    for text in statements:
        connection.execute(text)


def seed(connection: Connection) -> None:
    """Clean rows of every table: topics 1 and 2, atoms 1 and 2, a link between them and a message of topic 1."""
    atom(connection, 1, topic_id=None)
    topic(connection, 1, "Database migration")
    topic(connection, 2, "Review queue")
    atom(connection, 2, topic_id=2, meta=None)
    insert(connection, "atom_links", from_atom_id=1, to_atom_id=2, **LINK)
    insert(connection, "users", id=1, first_name="Ada", is_active=True, is_bot=False)
    insert(connection, "sources", id=1, name="Team chat", type="telegram", is_active=True)
    message(connection, 1, topic_id=1)
    message(connection, 2, topic_id=None)


def message(connection: Connection, id: int, topic_id: int | None) -> None:
    """A message of the seeded user and source."""
    row = {"external_message_id": str(id), "content": "hello", "sent_at": "2026-01-01", "analyzed": True}
    insert(connection, "messages", id=id, source_id=1, author_id=1, topic_id=topic_id, **row)


def audit(connection: Connection, **options: Any) -> DataQualityReport:
    """The whole report, with room for every row of these tests."""
    return report(connection, **{"sample": 50, "similarity_percent": 60.0, **options})


def found(connection: Connection, name: str) -> list[dict[str, Any]]:
    """All rows of one finding."""
    result = audit(connection).of(name)
    assert result.count == len(result.sample)
    return list(result.sample)


def ids(connection: Connection, name: str) -> list[int]:
    """The ids of the rows of one finding."""
    return [row["id"] for row in found(connection, name)]


@pytest.fixture
def clean(connection: Connection) -> Connection:
    """A legacy database in which nothing is wrong."""
    seed(connection)
    return connection


@pytest.fixture
def any_clean(any_database: Database) -> Iterator[Connection]:
    """The same on each supported version."""
    with any_database.connect("test") as opened:
        seed(opened)
        yield opened


# --- the declaration -------------------------------------------------------------------------------------------------


def test_a_clean_database_has_no_finding(any_clean: Connection) -> None:
    outcome = audit(any_clean)
    assert [result.finding for result in outcome.results] == list(FINDINGS)
    assert [result.finding.name for result in outcome.results if result.count] == []
    assert outcome.blocking == ()


def test_an_empty_database_has_no_finding_and_no_share(connection: Connection) -> None:
    outcome = audit(connection)
    assert {(result.count, result.of, result.share_percent) for result in outcome.results} == {(0, 0, 0.0)}


def test_every_finding_has_a_name_of_its_own_and_says_why_and_what_to_do() -> None:
    assert len({finding.name for finding in FINDINGS}) == len(FINDINGS)
    assert all(finding.description and finding.remedy for finding in FINDINGS)


def test_the_count_is_exact_and_the_sample_is_its_first_rows(clean: Connection) -> None:
    for id in range(10, 17):
        atom(clean, id, confidence=1.5)
    result = audit(clean, sample=3).of("atoms_with_a_confidence_outside_0_to_1")
    assert (result.count, result.of) == (7, 9)
    assert [row["id"] for row in result.sample] == [10, 11, 12]
    assert result.share_percent == pytest.approx(700 / 9)


def test_a_sample_of_no_rows_is_refused_since_it_could_not_carry_a_count(clean: Connection) -> None:
    with pytest.raises(ValueError, match="sample is 0"):
        audit(clean, sample=0)


def test_the_frame_has_one_row_per_finding_with_what_it_means(clean: Connection) -> None:
    atom(clean, 3, confidence=-0.1)
    frame = audit(clean).as_frame().set_index("finding")
    assert list(frame.index) == [finding.name for finding in FINDINGS]
    row = frame.loc["atoms_with_a_confidence_outside_0_to_1"]
    assert (row["count"], row["of"], row["effect"], row["table"]) == (1, 3, "quarantines", "atoms")
    assert frame["reason"].str.len().min() > 0
    assert frame["remedy"].str.len().min() > 0


def test_the_audit_changes_nothing_and_leaves_the_session_as_it_was(clean: Connection) -> None:
    before = clean.isolation_level, clean.read_only
    said: list[str] = []
    audit(clean, progress=said.append)
    assert (clean.isolation_level, clean.read_only) == before
    atom(clean, 3)
    assert len([one for one in said if one.startswith("looking for")]) == len(FINDINGS) < len(said)


def test_all_counts_are_of_one_moment(clean: Connection, database: Database) -> None:
    """An atom that arrives while the audit runs is in no count, neither of a finding nor of the table."""
    with database.connect("meanwhile") as meanwhile:
        arrived: list[int] = []

        def arrive(_: str) -> None:
            arrived.append(100 + len(arrived))
            atom(meanwhile, arrived[-1], confidence=None)

        result = audit(clean, progress=arrive).of("atoms_without_a_confidence")
    assert arrived
    assert (result.count, result.of) == (0, 2)


# --- references that dangle: blocking --------------------------------------------------------------------------------


def test_a_pair_of_a_missing_topic_or_atom_blocks(clean: Connection) -> None:
    alter(
        clean,
        "ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_topic_id_fkey",
        "ALTER TABLE topic_atoms DROP CONSTRAINT topic_atoms_atom_id_fkey",
    )
    insert(clean, "topic_atoms", topic_id=1, atom_id=97)
    insert(clean, "topic_atoms", topic_id=98, atom_id=1)
    insert(clean, "topic_atoms", topic_id=98, atom_id=97)
    outcome = audit(clean)
    assert list(outcome.of("topic_atoms_of_missing_rows").sample) == [
        {"topic_id": 1, "atom_id": 97, "missing": "atom"},
        {"topic_id": 98, "atom_id": 1, "missing": "topic"},
        {"topic_id": 98, "atom_id": 97, "missing": "topic, atom"},
    ]
    assert [result.finding.name for result in outcome.blocking] == ["topic_atoms_of_missing_rows"]


def test_a_link_of_a_missing_atom_blocks(clean: Connection) -> None:
    alter(
        clean,
        "ALTER TABLE atom_links DROP CONSTRAINT atom_links_from_atom_id_fkey",
        "ALTER TABLE atom_links DROP CONSTRAINT atom_links_to_atom_id_fkey",
    )
    insert(clean, "atom_links", from_atom_id=1, to_atom_id=98, **LINK)
    insert(clean, "atom_links", from_atom_id=97, to_atom_id=1, **LINK)
    insert(clean, "atom_links", from_atom_id=97, to_atom_id=98, **LINK)
    outcome = audit(clean)
    assert list(outcome.of("atom_links_of_missing_atoms").sample) == [
        {"from_atom_id": 1, "to_atom_id": 98, "missing": "to"},
        {"from_atom_id": 97, "to_atom_id": 1, "missing": "from"},
        {"from_atom_id": 97, "to_atom_id": 98, "missing": "from, to"},
    ]
    assert [result.finding.name for result in outcome.blocking] == ["atom_links_of_missing_atoms"]


def test_a_message_of_a_missing_topic_blocks(clean: Connection) -> None:
    alter(clean, "ALTER TABLE messages DROP CONSTRAINT messages_topic_id_fkey")
    message(clean, 3, topic_id=98)
    outcome = audit(clean)
    assert list(outcome.of("messages_of_a_missing_topic").sample) == [{"id": 3, "topic_id": 98}]
    assert [result.finding.name for result in outcome.blocking] == ["messages_of_a_missing_topic"]


# --- what a proposal cannot hold: quarantine -------------------------------------------------------------------------


def quarantined(connection: Connection) -> list[FindingResult]:
    """The findings that quarantine rows; nothing may block beside them."""
    outcome = audit(connection)
    assert outcome.blocking == ()
    return list(outcome.met("quarantines"))


def test_a_confidence_below_0_above_1_or_not_a_number_is_quarantined(clean: Connection) -> None:
    for id, confidence in ((3, -0.01), (4, 1.01), (5, math.nan), (6, math.inf), (7, -math.inf)):
        atom(clean, id, confidence=confidence)
    for id, valid in ((8, 0.0), (9, 1.0), (10, None)):
        atom(clean, id, confidence=valid)
    (result,) = quarantined(clean)
    assert result.finding.name == "atoms_with_a_confidence_outside_0_to_1"
    assert [(row["id"], str(row["confidence"])) for row in result.sample] == [
        (3, "-0.01"),
        (4, "1.01"),
        (5, "nan"),
        (6, "inf"),
        (7, "-inf"),
    ]


def test_a_topic_without_a_required_value_is_quarantined(clean: Connection) -> None:
    alter(
        clean,
        "ALTER TABLE topics ALTER COLUMN name DROP NOT NULL",
        "ALTER TABLE topics ALTER COLUMN description DROP NOT NULL",
    )
    topic(clean, 3, "Without description", description=None)
    topic(clean, 4, None)  # type: ignore[arg-type]
    topic(clean, 5, None, description=None)  # type: ignore[arg-type]
    topic(clean, 6, "Without icon", icon=None, color=None)
    (result,) = quarantined(clean)
    assert result.finding.name == "topics_lacking_a_required_value"
    assert list(result.sample) == [
        {"id": 3, "lacking": "description"},
        {"id": 4, "lacking": "name"},
        {"id": 5, "lacking": "name, description"},
    ]


def test_an_atom_without_a_required_value_is_quarantined(clean: Connection) -> None:
    for column in ("type", "title", "content"):
        alter(clean, f"ALTER TABLE atoms ALTER COLUMN {column} DROP NOT NULL")
    atom(clean, 3, type=None)
    atom(clean, 4, content=None)
    insert(clean, "atoms", id=5, **{**ATOM, "type": None, "content": None})
    (result,) = quarantined(clean)
    assert result.finding.name == "atoms_lacking_a_required_value"
    assert list(result.sample) == [
        {"id": 3, "lacking": "type"},
        {"id": 4, "lacking": "content"},
        {"id": 5, "lacking": "type, title, content"},
    ]


def test_a_topic_wider_than_its_proposal_is_quarantined(clean: Connection) -> None:
    for column in ("name", "icon", "color"):
        alter(clean, f"ALTER TABLE topics ALTER COLUMN {column} TYPE text")
    topic(clean, 3, "n" * 101)
    topic(clean, 4, "One more topic", icon="i" * 51, color="#12345678")
    topic(clean, 5, "ñ" * 100, icon="ï" * 50)
    (result,) = quarantined(clean)
    assert result.finding.name == "topics_wider_than_their_proposal"
    assert list(result.sample) == [
        {"id": 3, "characters": "name: 101", "name": "n" * 100},
        {"id": 4, "characters": "icon: 51, color: 9", "name": "One more topic"},
    ]


def test_an_atom_wider_than_its_proposal_is_quarantined(clean: Connection) -> None:
    for column in ("type", "title"):
        alter(clean, f"ALTER TABLE atoms ALTER COLUMN {column} TYPE text")
    atom(clean, 3, title="t" * 201)
    atom(clean, 4, type="y" * 21, title="u" * 300)
    atom(clean, 5, title="ü" * 200)
    (result,) = quarantined(clean)
    assert result.finding.name == "atoms_wider_than_their_proposal"
    assert list(result.sample) == [
        {"id": 3, "characters": "title: 201", "title": "t" * 100},
        {"id": 4, "characters": "type: 21, title: 300", "title": "u" * 100},
    ]


# Backslashes as they stand in the JSON text. The high and the low half of a pair are ud83d and ude00.
META_REFUSED = [
    r'{"a": "\u0000"}',
    r'{"a\u0000": 1}',
    r'["x", "\\\u0000"]',
    r'{"a": "\\\\\u0000"}',
    r'{"a": "\"\u0000"}',
    r'"\ud83d"',
    r'"\ude00"',
    r'"\uD83D and more"',
    r'"\ude00\ud83d"',
    r'"\ud83d\ud83d\ude00"',
    r'"\ud83d\\\ude00"',
    r'"\ud83d\n\ude00"',
    r'"\\ud83d\ude00"',
]
META_HELD = [
    "null",
    "{}",
    '{"a": "u0000"}',
    r'{"a": "\\u0000"}',
    r'{"a": "\\\\u0000 \\ud83d"}',
    r'{"a": "\u0001 \u00e9 \uFFFD"}',
    r'"\ud83d\ude00"',
    r'"\uD83D\uDE00\ud83d\ude00"',
    r'"\\\ud83d\ude00"',
    '"😀"',
    r'"\ud7ff\ue000"',
]


def test_meta_that_jsonb_cannot_hold_is_quarantined_and_found_without_failing(any_clean: Connection) -> None:
    """The textual search says the same as the server's own parser, which can be asked from PostgreSQL 16 only."""
    for id, meta in enumerate([*META_REFUSED, *META_HELD], start=100):
        atom(any_clean, id, meta=meta)
    asked = "SELECT id FROM atoms WHERE NOT pg_input_is_valid(meta::text, 'jsonb') ORDER BY id"
    refused = [row["id"] for row in any_clean.execute(asked)]
    (result,) = quarantined(any_clean)
    assert result.finding.name == "atoms_with_meta_that_jsonb_cannot_hold"
    assert [row["id"] for row in result.sample] == refused == list(range(100, 100 + len(META_REFUSED)))
    assert result.sample[0] == {"id": 100, "meta": r'{"a": "\u0000"}', "title": "Atom 100"}


# --- known and carried over: accepted --------------------------------------------------------------------------------


def test_what_is_only_accepted_neither_blocks_nor_quarantines(clean: Connection) -> None:
    atom(clean, 3, topic_id=None, type="rumour", content="", confidence=None, embedding=None, meta=Json(None))
    topic(clean, 3, "database  migration", atom=None, description="", color="emerald", created_at=None)
    outcome = audit(clean)
    assert outcome.blocking == outcome.met("quarantines") == ()
    assert [result.finding.name for result in outcome.met("accepted")] == [
        "near_duplicate_topic_names",
        "topic_names_that_differ_in_case_or_blanks_only",
        "topics_without_atoms",
        "topics_with_an_empty_description",
        "topics_with_a_colour_that_is_not_hex",
        "topics_without_created_at",
        "atoms_without_a_topic",
        "atoms_of_an_unknown_type",
        "atoms_with_empty_content",
        "atoms_without_a_confidence",
        "atoms_with_meta_json_null",
        "atoms_without_an_embedding",
    ]


def test_a_count_says_when_pairs_were_too_many_to_compare(clean: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_join, "PAIRS_PER_NAME", 1)
    monkeypatch.setattr(similarity_join, "PAIRS_IN_ANY_CASE", 0)
    for number in range(9):
        topic(clean, 100 + number, f"Weekly Newsletter #{number}")
    result = audit(clean).of("near_duplicate_topic_names")
    assert 0 < result.count < 36
    assert "At least so many:" in result.as_row()["reason"]


def test_near_duplicate_names_are_pairs_with_their_similarity(clean: Connection) -> None:
    topic(clean, 3, "Database migrations")
    topic(clean, 4, "Gardening")
    result = audit(clean).of("near_duplicate_topic_names")
    pair = {"id": 1, "name": "Database migration", "other_id": 3, "other_name": "Database migrations"}
    assert list(result.sample) == [{**pair, "similarity_percent": 97.1}]
    assert (result.count, result.of) == (1, 6)


def test_names_that_differ_in_case_or_blanks_only_are_all_found_with_their_first(clean: Connection) -> None:
    topic(clean, 3, "DATABASE Migration")
    topic(clean, 4, " Database\tmigration ")
    topic(clean, 5, "Database-migration")
    assert found(clean, "topic_names_that_differ_in_case_or_blanks_only") == [
        {"id": 1, "name": "Database migration", "first_id": 1},
        {"id": 3, "name": "DATABASE Migration", "first_id": 1},
        {"id": 4, "name": " Database\tmigration ", "first_id": 1},
    ]


def test_a_topic_without_atoms_is_found(clean: Connection) -> None:
    topic(clean, 3, "Nobody writes here", atom=None)
    assert found(clean, "topics_without_atoms") == [{"id": 3, "name": "Nobody writes here"}]


def test_an_atom_without_a_topic_is_found(clean: Connection) -> None:
    atom(clean, 3, topic_id=None)
    assert found(clean, "atoms_without_a_topic") == [{"id": 3, "title": "Atom 3"}]


def test_a_description_or_content_of_white_space_alone_is_empty(clean: Connection) -> None:
    for id, text in ((3, ""), (4, " \n\t"), (5, ".")):
        topic(clean, id, f"{id}", description=text)
        atom(clean, id, content=text)
    assert ids(clean, "topics_with_an_empty_description") == [3, 4]
    assert ids(clean, "atoms_with_empty_content") == [3, 4]


def test_a_colour_that_is_not_six_hexadecimal_digits_is_found(clean: Connection) -> None:
    for id, color in enumerate(["emerald", "#12345", "#12345G", "64748B#", "", "#64748b", None], start=3):
        topic(clean, id, f"{id}", color=color)
    assert ids(clean, "topics_with_a_colour_that_is_not_hex") == [3, 4, 5, 6, 7]


def test_an_unknown_type_of_atom_or_link_is_found_and_a_known_one_is_not(clean: Connection) -> None:
    for id, kind in enumerate([*ATOM_TYPES, *LINK_TYPES], start=10):
        atom(clean, id, type=kind if kind in ATOM_TYPES else "insight")
        insert(clean, "atom_links", from_atom_id=1, to_atom_id=id, link_type=kind if kind in LINK_TYPES else "supports")
    atom(clean, 3, type="Problem")
    insert(clean, "atom_links", from_atom_id=1, to_atom_id=3, link_type="see_also")
    assert found(clean, "atoms_of_an_unknown_type") == [{"id": 3, "type": "Problem", "title": "Atom 3"}]
    link = {"from_atom_id": 1, "to_atom_id": 3, "link_type": "see_also"}
    assert found(clean, "links_of_an_unknown_type") == [link]


def test_an_atom_linked_to_itself_is_found(clean: Connection) -> None:
    insert(clean, "atom_links", from_atom_id=2, to_atom_id=2, **LINK)
    insert(clean, "atom_links", from_atom_id=2, to_atom_id=1, **LINK)
    expected = {"from_atom_id": 2, "to_atom_id": 2, "link_type": "supports"}
    assert found(clean, "atoms_linked_to_themselves") == [expected]


def test_a_missing_confidence_is_accepted_and_zero_is_not_missing(clean: Connection) -> None:
    atom(clean, 3, confidence=None)
    atom(clean, 4, confidence=0.0)
    result = audit(clean).of("atoms_without_a_confidence")
    assert ([row["id"] for row in result.sample], result.finding.effect) == ([3], "accepted")


def test_meta_json_null_is_found_and_sql_null_is_not(clean: Connection) -> None:
    for id, meta in enumerate(["null", " null\n", '"null"', "[null]", None, r'"\u0000"'], start=3):
        atom(clean, id, meta=meta)
    assert ids(clean, "atoms_with_meta_json_null") == [3, 4]


def test_embeddings_that_are_missing_of_another_dimension_or_zero_are_found(clean: Connection) -> None:
    alter(clean, "ALTER TABLE atoms ALTER COLUMN embedding TYPE vector")
    atom(clean, 3, embedding=None)
    atom(clean, 4, embedding="[1,2,3]")
    atom(clean, 5, embedding="[" + ",".join(["0"] * 1536) + "]")
    atom(clean, 6, embedding="[0,0]")
    outcome = audit(clean)
    missing = outcome.of("atoms_without_an_embedding")
    assert [row["id"] for row in missing.sample] == [3]
    assert missing.share_percent == pytest.approx(100 / 6)
    assert list(outcome.of("atoms_with_an_embedding_of_another_dimension").sample) == [
        {"id": 4, "dimensions": 3, "title": "Atom 4"},
        {"id": 6, "dimensions": 2, "title": "Atom 6"},
    ]
    assert [row["id"] for row in outcome.of("atoms_with_a_zero_embedding").sample] == [5, 6]


def test_atoms_of_the_same_title_and_content_are_all_found_with_their_first(clean: Connection) -> None:
    atom(clean, 3, title="Use a queue")
    atom(clean, 4, title="Use a queue", content="Another reason.")
    atom(clean, 5, title="Use a queue", confidence=None)
    assert found(clean, "atoms_with_the_same_title_and_content") == [
        {"id": 3, "first_id": 3, "title": "Use a queue"},
        {"id": 5, "first_id": 3, "title": "Use a queue"},
    ]


@pytest.mark.parametrize("table", ["topics", "atoms"])
def test_rows_updated_before_created_or_without_created_at_are_found(clean: Connection, table: str) -> None:
    times: dict[int, dict[str, Any]] = {
        3: {"created_at": "2026-02-02", "updated_at": "2026-02-01"},
        4: {"created_at": None, "updated_at": "2026-02-01"},
        5: {"created_at": "2026-02-01", "updated_at": "2026-02-01"},
        6: {"created_at": "2026-02-01", "updated_at": None},
    }
    for id, values in times.items():
        if table == "topics":
            topic(clean, id, f"{id}", **values)
        else:
            atom(clean, id, **values)
    assert ids(clean, f"{table}_updated_before_created") == [3]
    assert ids(clean, f"{table}_without_created_at") == [4]
    other = "atoms" if table == "topics" else "topics"
    assert ids(clean, f"{other}_updated_before_created") == ids(clean, f"{other}_without_created_at") == []


# --- the chart and the real data -------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidences", [[], [7.0], [7.0] * 120], ids=["none", "one", "many"])
def test_the_chart_of_findings_is_a_png_of_readable_width(clean: Connection, confidences: list[float]) -> None:
    for id, confidence in enumerate(confidences, start=10):
        atom(clean, id, confidence=confidence)
    picture = bar_of_findings(audit(clean).as_frame()).png
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG")
    assert (700 <= width <= 900, 600 <= height <= 900) == (True, True)


def load_shared(connection: Connection, table: str) -> None:
    """Fills a legacy table with the small sample; skips where it is not at hand."""
    path = SHARED_DATA / "small" / f"{table}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    columns = sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row([json.dumps(value) if isinstance(value, dict) else value for value in row.values()])


def test_a_real_knowledge_base_has_the_dirt_that_it_is_known_for(connection: Connection) -> None:
    for table in ("topics", "atoms", "topic_atoms", "atom_links"):
        load_shared(connection, table)
    outcome = audit(connection, sample=2)
    assert outcome.blocking == outcome.met("quarantines") == ()
    assert {result.finding.name: result.count for result in outcome.met("accepted")} == {
        "near_duplicate_topic_names": 314,
        "topic_names_that_differ_in_case_or_blanks_only": 22,
        "topics_without_atoms": 503,
        "topics_with_an_empty_description": 481,
        "atoms_without_a_topic": 2_637,
        "atoms_with_empty_content": 2,
        "atoms_without_a_confidence": 11_771,
        "atoms_with_the_same_title_and_content": 311,
        "atoms_updated_before_created": 69,
        "atoms_without_an_embedding": 11_771,
        "links_of_an_unknown_type": 7_360,
    }
    assert {len(result.sample) for result in outcome.met("accepted")} == {2}
