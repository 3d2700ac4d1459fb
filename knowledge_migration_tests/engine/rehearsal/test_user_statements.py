"""What the columns of phase 1 break in the user's code is found, and what they leave as it is counts as no outage."""

import pytest

from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.rehearsal.user_statements import refuse_outages, tried
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings

ROWS = """
INSERT INTO topics (name, description) VALUES ('a', ''), ('b', '');
INSERT INTO atoms (type, title, content, user_approved) VALUES ('insight', 'a', '', false);
INSERT INTO topic_atoms (topic_id, atom_id) VALUES (1, 1);
CREATE TABLE copies AS SELECT * FROM topics;
CREATE TABLE "50% of" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic_id bigint, twice bigint GENERATED ALWAYS AS
    (2 * topic_id) STORED);
INSERT INTO "50% of" (topic_id) VALUES (1);
"""
BROKEN = {
    "definition of the function listed()": """
        CREATE FUNCTION listed() RETURNS SETOF topics LANGUAGE sql AS
        'SELECT created_at, updated_at, id, name, description, icon, color FROM topics'""",
    "definition of the function tabled(bigint)": """
        CREATE FUNCTION tabled(bigint) RETURNS TABLE (a timestamptz, b timestamptz, c bigint, d varchar, e text, f varchar,
        g varchar) LANGUAGE sql AS 'SELECT * FROM topics WHERE id = $1'""",
    "call of the function queried(integer)": """
        CREATE FUNCTION queried(int) RETURNS SETOF topics LANGUAGE plpgsql AS
        'BEGIN
            RETURN QUERY SELECT created_at, updated_at, id, name, description, icon, color FROM topics WHERE $1 IS NULL;
        END'""",
    "call of the function first_of(topics)": """
        CREATE FUNCTION first_of(topic topics) RETURNS text LANGUAGE plpgsql AS
        'DECLARE copy copies; BEGIN copy := topic; INSERT INTO copies SELECT (topic).*; RETURN copy.name; END'""",
    "call of the function counted(text,integer[])": """
        CREATE FUNCTION counted(text, VARIADIC int[]) RETURNS SETOF copies LANGUAGE plpgsql AS
        'BEGIN RETURN QUERY SELECT topics.* FROM topics WHERE name IS NOT NULL; END'""",
    'update of a row of "50% of"': """
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO copies SELECT topics.* FROM topics WHERE id = NEW.topic_id; RETURN NEW; END';
        CREATE TRIGGER keep BEFORE UPDATE ON "50% of" FOR EACH ROW EXECUTE FUNCTION keep()""",
    "delete of a row of topic_atoms": """
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO copies SELECT topics.* FROM topics WHERE id = OLD.topic_id; RETURN OLD; END';
        CREATE TRIGGER keep BEFORE DELETE ON topic_atoms FOR EACH ROW EXECUTE FUNCTION keep()""",
}
UNHARMED = r"""
CREATE FUNCTION listed() RETURNS SETOF topics LANGUAGE sql AS 'SELECT * FROM topics';
CREATE FUNCTION label(topics) RETURNS text LANGUAGE sql AS 'SELECT $1.name || ''%s''';
CREATE FUNCTION typed() RETURNS topics LANGUAGE plpgsql AS
    'DECLARE one topics%ROWTYPE; BEGIN SELECT * INTO one FROM topics LIMIT 1; RAISE DEBUG ''%'', one; RETURN one; END';
CREATE FUNCTION broken_already() RETURNS SETOF topics LANGUAGE plpgsql AS 'BEGIN RETURN QUERY SELECT 1 FROM topics; END';
CREATE PROCEDURE emptied() LANGUAGE sql AS 'TRUNCATE topics CASCADE';
CREATE FUNCTION named() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER named AFTER INSERT OR UPDATE OR DELETE ON "50% of" FOR EACH ROW EXECUTE FUNCTION named();
"""


@pytest.fixture
def rows(database: Database) -> Database:
    """The legacy schema with some rows."""
    with database.connect("test") as connection:
        connection.execute(ROWS)
    return database


def contents(connection: Connection) -> object:
    """The rows that the attempts write."""
    return connection.execute("""
        SELECT (SELECT count(*) FROM copies) AS copies, (SELECT string_agg(name, ' ' ORDER BY id) FROM topics) AS topics,
               (SELECT count(*) FROM topic_atoms) AS pairs, (SELECT string_agg(twice::text, ' ') FROM "50% of") AS twice
    """).fetchone()


def outage(database: Database, code: str) -> str:
    """The message about user code that the columns break; empty where they break nothing."""
    with database.connect("test") as connection:
        connection.execute(code.encode())
        before, written = tried(connection), contents(connection)
        schema.upgrade(database, SchemaChangeSettings())
        after = tried(connection)
        assert written == contents(connection)
    try:
        refuse_outages(before, after)
    except VerificationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", list(BROKEN))
def test_user_code_that_the_new_columns_break_is_named_with_the_message_of_the_server(
    rows: Database, what: str
) -> None:
    message = outage(rows, BROKEN[what])
    assert f"{what}: " in message
    assert "columns" in message or "expressions" in message


def test_user_code_that_the_new_columns_leave_as_it_is_is_no_outage(rows: Database) -> None:
    with rows.connect("test") as connection:
        connection.execute(UNHARMED.encode())
        tried_now = tried(connection)
    assert {what for what, message in tried_now.items() if message} == {
        "call of the function broken_already()",
        "delete of a row of topics (1)",  # it has a relation
        "delete of a row of atoms (1)",
    }
    assert 'insert of a row of "50% of"' in tried_now
    assert outage(rows, "SELECT 1") == ""
