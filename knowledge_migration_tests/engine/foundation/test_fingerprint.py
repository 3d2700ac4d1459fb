"""A fingerprint sees every single value, names table and range, and sees nothing else."""

import json
from dataclasses import replace
from datetime import datetime

import pytest
from psycopg import sql

from knowledge_migration.engine.foundation import fingerprint
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError, VerificationError
from knowledge_migration.engine.foundation.fingerprint import Fingerprint, differences, take
from knowledge_migration.engine.foundation.snapshot import exported_snapshot
from knowledge_migration_tests.engine.backup.legacy_rows import fill


@pytest.fixture
def filled(connection: Connection) -> Connection:
    fill(connection)
    return connection


def places(before: Fingerprint, after: Fingerprint) -> list[tuple[str, str]]:
    return [(difference.table, difference.range) for difference in differences(before, after)]


def changed_places(connection: Connection, change: str) -> list[tuple[str, str]]:
    before = take(connection)
    connection.execute(change)
    return places(before, take(connection, like=before))


SINGLE_CHANGES = {
    "NULL to empty text": ("UPDATE topics SET icon = '' WHERE id = 2", ("topics", "0..9999")),
    "empty text to NULL": ("UPDATE topics SET icon = NULL WHERE id = 15000", ("topics", "10000..19999")),
    "letter case": ("UPDATE topics SET color = 'Emerald' WHERE id = 2", ("topics", "0..9999")),
    "a trailing blank": ("UPDATE atoms SET title = 'Same ' WHERE id = 20001", ("atoms", "20000..29999")),
    "white space in json": ("""UPDATE atoms SET meta = '{"a":1}' WHERE id = 1""", ("atoms", "0..9999")),
    "json null to NULL": ("UPDATE atoms SET meta = NULL WHERE id = 2", ("atoms", "0..9999")),
    "0.0 to NULL": ("UPDATE atoms SET confidence = NULL WHERE id = 1", ("atoms", "0..9999")),
    "0.0 to 1.0": ("UPDATE atoms SET confidence = 1.0 WHERE id = 1", ("atoms", "0..9999")),
    "0.0 to -0.0": ("UPDATE atoms SET confidence = '-0' WHERE id = 1", ("atoms", "0..9999")),
    "the last bit of a float": (
        "UPDATE atoms SET confidence = 0.90000000000000002 + 1.2e-16 WHERE id = 3",
        ("atoms", "0..9999"),
    ),
    "one component of an embedding": (
        "UPDATE atoms SET embedding = (array_fill(0.25::real, ARRAY[1535]) || 0.2500001::real)::vector WHERE id = 3",
        ("atoms", "0..9999"),
    ),
    "an embedding to NULL": ("UPDATE atoms SET embedding = NULL WHERE id = 3", ("atoms", "0..9999")),
    "a microsecond": (
        "UPDATE topics SET created_at = created_at + interval '1 microsecond' WHERE id = 1",
        ("topics", "0..9999"),
    ),
    "a microsecond without zone": (
        "UPDATE messages SET sent_at = sent_at - interval '1 microsecond'",
        ("messages", "0..9999"),
    ),
    "a boolean": ("UPDATE atoms SET user_approved = true WHERE id = 1", ("atoms", "0..9999")),
    "an enum": ("UPDATE sources SET type = 'slack' WHERE id = 2", ("sources", "0..9999")),
    "values exchanged by two rows": (
        "UPDATE topics SET description = CASE id WHEN 1 THEN '' ELSE 'How we keep copies' END WHERE id IN (1, 2)",
        ("topics", "0..9999"),
    ),
    "values exchanged by two columns": (
        "UPDATE topics SET icon = color, color = 'Folder' WHERE id = 2",
        ("topics", "0..9999"),
    ),
    "a note of a relation": ("UPDATE topic_atoms SET note = '' WHERE atom_id = 2", ("topic_atoms", "0..9999")),
    "a deleted row": ("DELETE FROM atom_links", ("atom_links", "0..9999")),
    "a row given twice": (
        "INSERT INTO atoms (id, type, title, content, confidence, user_approved, meta, created_at, updated_at)"
        " SELECT 20002, type, title, content, confidence, user_approved, meta, created_at, updated_at"
        " FROM atoms WHERE id = 20001",
        ("atoms", "20000..29999"),
    ),
}


@pytest.mark.parametrize("change", SINGLE_CHANGES)
def test_a_single_change_of_any_value_is_seen_and_placed(filled: Connection, change: str) -> None:
    statement, place = SINGLE_CHANGES[change]
    assert changed_places(filled, statement) == [place]


def test_a_changed_id_is_seen_in_the_range_it_leaves_and_the_one_it_enters(filled: Connection) -> None:
    found = changed_places(filled, "UPDATE atoms SET id = 20000 WHERE id = 20001")
    assert found == [("atoms", "20000..29999")]
    found = changed_places(filled, "UPDATE atoms SET id = 9 WHERE id = 20000")
    assert found == [("atoms", "0..9999"), ("atoms", "20000..29999")]


def test_exchanged_values_never_cancel_out(connection: Connection) -> None:
    # a plain sum of record hashes missed 137 of 200 exchanges: the hash is linear in its columns
    connection.execute(
        "INSERT INTO topics (id, name, description, created_at, updated_at)"
        " SELECT id, 'name ' || id, 'text ' || id, NULL, NULL FROM generate_series(0, 399) AS id"
    )
    before = take(connection, range_ids=2)
    connection.execute("UPDATE topics SET description = 'text ' || CASE id % 2 WHEN 0 THEN id + 1 ELSE id - 1 END")
    assert len(differences(before, take(connection, like=before))) == 200


def test_the_order_of_rows_does_not_matter(filled: Connection) -> None:
    before = take(filled)
    filled.execute("CREATE TABLE kept AS SELECT * FROM topic_atoms; TRUNCATE topic_atoms")
    filled.execute("INSERT INTO topic_atoms SELECT * FROM kept ORDER BY atom_id DESC; UPDATE topics SET id = id")
    assert differences(before, take(filled, like=before)) == []


def test_our_two_columns_are_never_part_of_it(filled: Connection) -> None:
    before = take(filled)
    for table in ("topics", "atoms"):
        filled.execute(f"ALTER TABLE {table} ADD migrated_from_proposal_id uuid, ADD migration_timestamp timestamptz")
        filled.execute(f"UPDATE {table} SET migrated_from_proposal_id = gen_random_uuid(), migration_timestamp = now()")  # noqa: S608
    assert differences(before, take(filled, like=before)) == []
    assert take(filled).digest == before.digest


def test_a_column_that_the_user_adds_later_does_not_disturb_the_comparison(filled: Connection) -> None:
    before = take(filled)
    filled.execute("ALTER TABLE topics ADD pinned boolean DEFAULT true")
    assert differences(before, take(filled, like=before)) == []
    with pytest.raises(VerificationError, match="topics also covers pinned"):
        differences(before, take(filled))


EXTRA_COLUMNS = {
    "bigint": ("bigint", "-1", "4294967295"),
    "numeric": ("numeric", "1.0", "1.00"),
    "interval": ("interval", "1 day", "24 hours"),
    "jsonb": ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
    "xml-like text of a domain": ("a_domain", "A", "a"),
    "enum": ("an_enum", "first", "second"),
    "array": ("text[]", "{a,NULL}", '{a,"NULL"}'),
    "array bounds": ("int[]", "{1,2}", "[0:1]={1,2}"),
    "composite": ("a_row", "(1,)", '(1,"")'),
    "bpchar": ("bpchar", "a", "a "),
    "float4": ("real", "0.1", "0.10000001"),
    "bytea": ("bytea", "\\x00", "\\x0000"),
    "bit": ("varbit", "1", "10"),
    "money": ("money", "1", "1.01"),
    "range": ("tstzrange", "[2026-01-01,2026-01-02)", "[2026-01-01,2026-01-02]"),
    "regclass": ("regclass", "topics", "atoms"),
    "point": ("point", "(0,0.1)", "(0,0.10000000000000002)"),
    "halfvec": ("halfvec(2)", "[1,2]", "[1,2.002]"),
    "inet": ("inet", "10.0.0.1/8", "10.0.0.1/9"),
}


@pytest.mark.parametrize("kind", EXTRA_COLUMNS)
def test_a_users_own_column_of_any_type_is_covered(filled: Connection, kind: str) -> None:
    filled.execute("CREATE DOMAIN a_domain AS text; CREATE TYPE an_enum AS ENUM ('first', 'second')")
    filled.execute("CREATE TYPE a_row AS (number int, word text)")
    type_name, first, second = EXTRA_COLUMNS[kind]
    filled.execute(f'ALTER TABLE topics ADD "extra {{%}} ""column" {type_name}')
    filled.execute('UPDATE topics SET "extra {%} ""column" = ' + f"'{first}' WHERE id = 1")  # noqa: S608
    found = changed_places(filled, 'UPDATE topics SET "extra {%} ""column" = ' + f"'{second}' WHERE id = 1")  # noqa: S608
    assert found == [("topics", "0..9999")]


def test_a_users_own_table_is_covered_whatever_its_key(filled: Connection) -> None:
    filled.execute("CREATE TABLE one_column (topic_id bigint REFERENCES topics)")
    filled.execute("CREATE TABLE by_uuid (id uuid PRIMARY KEY, topic_id bigint REFERENCES topics)")
    filled.execute("CREATE TABLE below_zero (place smallint PRIMARY KEY, topic_id bigint REFERENCES topics)")
    filled.execute("INSERT INTO one_column VALUES (NULL), (1)")
    filled.execute("INSERT INTO below_zero VALUES (-1, 1), (-10, 1), (-11, 1), (0, 1), (9, 1)")
    found = take(filled, range_ids=10)
    assert {key: part.rows for key, part in found.tables["below_zero"].ranges.items()} == {
        "-20..-11": 1,
        "-10..-1": 2,
        "0..9": 2,
    }
    assert found.tables["by_uuid"].ranges["all"].rows == 0
    assert changed_places(filled, "UPDATE one_column SET topic_id = 2 WHERE topic_id IS NULL") == [
        ("one_column", "all")
    ]


def test_it_is_the_same_under_any_setting_and_leaves_the_settings_alone(filled: Connection) -> None:
    filled.execute("ALTER TABLE topics ADD amount money, ADD since regclass, ADD share real, ADD span interval")
    filled.execute("UPDATE topics SET amount = 1.5, since = 'atoms', share = 0.1, span = '1 day 02:00'")
    before = take(filled)
    for setting in (
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Tokyo'",
        "IntervalStyle = 'iso_8601'",
        "extra_float_digits = -10",
        "bytea_output = 'escape'",
        "search_path = app, public",
        "enable_hashagg = off",
    ):
        filled.execute(f"SET {setting}")
    after = take(filled, like=before)
    assert (after.tables, after.digest) == (before.tables, before.digest)
    assert filled.execute("SHOW search_path").fetchone() == {"search_path": "app, public"}


def test_pgvector_may_live_in_another_schema(filled: Connection) -> None:
    before = take(filled)
    filled.execute("CREATE SCHEMA extensions; ALTER EXTENSION vector SET SCHEMA extensions")
    after = take(filled, like=before)
    assert after.tables["atoms"].ranges == before.tables["atoms"].ranges


def test_both_server_versions_take_the_same_fingerprint(any_database: Database, database: Database) -> None:
    with any_database.connect() as one, database.connect() as other:
        fill(one)
        fill(other)
        assert take(one).digest == take(other).digest


def test_it_reads_the_snapshot_it_is_taken_under(database: Database, filled: Connection) -> None:
    before = take(filled)
    with exported_snapshot(database) as snapshot:
        filled.execute("UPDATE topics SET name = 'changed' WHERE id = 1")
        assert take(snapshot.connection).digest == before.digest
        assert snapshot.connection.execute("SELECT name FROM topics WHERE id = 2").fetchone() == {"name": "Locks"}


def test_a_missing_table_column_or_type_is_a_difference_that_names_it(filled: Connection) -> None:
    before = take(filled)
    filled.execute("DROP TABLE atom_links; ALTER TABLE topics DROP icon; ALTER TABLE atoms ALTER title TYPE text")
    filled.execute("DELETE FROM topic_atoms; DELETE FROM topics WHERE id = 15000")
    found = {str(difference) for difference in differences(before, take(filled, like=before))}
    assert "atom_links table: 1 rows before, missing after" in found
    assert "topics column icon: character varying(50) before, missing after" in found
    assert "topics rows: 3 before, 2 after" in found
    assert "atoms column title: character varying(200) before, text after" in found


def test_a_lost_key_column_is_a_difference_too(filled: Connection) -> None:
    before = take(filled)
    filled.execute("ALTER TABLE atom_links DROP from_atom_id")
    assert ("atom_links", "column from_atom_id") in places(before, take(filled, like=before))


def test_fingerprints_over_other_ranges_are_not_compared(filled: Connection) -> None:
    with pytest.raises(VerificationError, match="has ranges of 7 ids, not of 10000"):
        differences(take(filled), take(filled, range_ids=7))


def test_ids_that_lie_far_apart_do_not_make_a_range_for_every_row(filled: Connection) -> None:
    filled.execute("UPDATE atoms SET id = 9007199254740993 WHERE id = 20001")
    before = take(filled, range_ids=10)
    assert [part.rows for part in before.tables["atoms"].ranges.values()] == [3, 1]
    filled.execute("INSERT INTO topics (id, name, description) VALUES (9007199254740993, 'stray', '')")
    assert places(before, take(filled, like=before)) == [("topics", "9007199254740990..9007199254740999")]


def test_evidence_brings_back_the_very_same_fingerprint(filled: Connection) -> None:
    taken = take(filled)
    restored = Fingerprint.from_evidence(json.loads(json.dumps(taken.to_evidence())))
    assert restored == taken
    assert restored.digest == replace(taken, taken_at=datetime.now().astimezone(), server_version="other").digest


def test_rows_that_a_policy_would_hide_are_an_error_not_a_smaller_count(database: Database, filled: Connection) -> None:
    filled.execute("ALTER TABLE topics ENABLE ROW LEVEL SECURITY")
    filled.execute("CREATE ROLE policed LOGIN; GRANT pg_read_all_data TO policed")
    try:
        with (
            Database(database.url.replace("postgres@", "policed@")).connect() as policed,
            pytest.raises(MigrationError, match="policed may not read every row of table topics"),
        ):
            take(policed, like=take(filled))
    finally:
        filled.execute("DROP OWNED BY policed; DROP ROLE policed")


def test_a_server_without_record_hashes_is_refused(filled: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "MINIMUM_SERVER_VERSION", 990000)
    with pytest.raises(PreconditionError, match="fingerprints need 14 or later"):
        take(filled)


def test_a_thousand_columns_and_odd_names_are_no_obstacle(filled: Connection) -> None:
    columns = sql.SQL(", ").join(sql.SQL("{} int").format(sql.Identifier(f"c{n} %s {{x}}")) for n in range(1000))
    filled.execute(sql.SQL('CREATE TABLE "Wide . table" ({}, topic_id bigint REFERENCES topics)').format(columns))
    filled.execute('INSERT INTO "Wide . table" ("c999 %s {x}") VALUES (1)')
    found = changed_places(filled, 'UPDATE "Wide . table" SET "c999 %s {x}" = 2')
    assert found == [("Wide . table", "all")]
