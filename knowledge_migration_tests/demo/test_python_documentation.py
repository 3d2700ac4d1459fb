"""What of Python's sources becomes which row: rules on a small library, and the whole documentation of this Python."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent

import pytest

from knowledge_migration.demo.loader import TABLES, load
from knowledge_migration.demo.python_documentation import NoSourcesError, PythonDocumentation, Row
from knowledge_migration.engine.foundation.database import Connection, Database

PROJECT = Path(__file__).parents[2]

PACKAGE = '''
    """A shop."""
    from .till import Till, DrawerError as Jammed
    from enum import Enum
'''
TILL = '''
    """Takes money.

    It never gives credit.

    """
    import shop.goods as wares

    class DrawerError(OSError):
        """The drawer is stuck."""

    class JammedError(DrawerError):
        """Nothing moves. A DrawerError, see shop.till.Till.open and open()."""

    class Till(wares.Shelf):
        """Keeps money."""

        def open(self, key, *, wait=1.0) -> bool:
            """Opens the drawer."""
            raise DrawerError("stuck")

        def shut(self):
            """Undoes open() and refill(); no nothing()."""

        def count(self):
            return 0
'''
GOODS = '''
    class Shelf:
        """Holds wares."""

    if True:
        def refill(): "Brings wares."
    else:
        def refill(): "Brings other wares."
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    write(tmp_path / "shop" / "__init__.py", PACKAGE)
    write(tmp_path / "shop" / "till.py", TILL)
    write(tmp_path / "shop" / "goods.py", GOODS)
    return tmp_path


def write(path: Path, source: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source).lstrip("\n"), encoding=encoding)


def by(column: str, rows: Iterable[Row]) -> dict[str, Row]:
    return {row[column]: row for row in rows}


def titles(library: Path) -> list[str]:
    return [atom["title"] for atom in PythonDocumentation(library).rows("atoms")]


def links(library: Path) -> set[tuple[str, str, str]]:
    documentation = PythonDocumentation(library)
    name = {atom["id"]: atom["title"].removeprefix("shop.") for atom in documentation.rows("atoms")}
    return {
        (name[link["from_atom_id"]], link["link_type"], name[link["to_atom_id"]])
        for link in documentation.rows("atom_links")
    }


def test_a_module_is_a_topic_that_its_docstring_describes(library: Path) -> None:
    topics = by("name", PythonDocumentation(library).rows("topics"))
    assert topics["shop.till"]["description"] == "Takes money.\n\nIt never gives credit."
    assert topics["shop.goods"]["description"] == ""


def test_a_chapter_of_pydoc_is_a_topic_of_its_title_and_chapters_of_one_title_are_one_topic(
    library: Path,
) -> None:
    names = [topic["name"] for topic in PythonDocumentation(library).rows("topics")]
    assert 'The "if" statement' in names
    assert len(names) == len(set(names))


def test_what_has_a_docstring_is_an_atom_and_nothing_else_is(library: Path) -> None:
    assert titles(library) == [
        "shop.goods.Shelf",
        "shop.goods.refill",
        "shop.goods.refill",
        "shop.till.DrawerError",
        "shop.till.JammedError",
        "shop.till.Till",
        "shop.till.Till.open",
        "shop.till.Till.shut",
    ]


def test_an_atom_holds_its_signature_above_its_docstring_and_says_where_it_is_from(library: Path) -> None:
    atom = by("title", PythonDocumentation(library).rows("atoms"))["shop.till.Till.open"]
    assert atom["content"] == "def open(self, key, *, wait=1.0) -> bool\n\nOpens the drawer."
    assert atom["meta"] == {"source": "python_documentation", "module": "shop.till", "line": 17}
    assert (atom["confidence"], atom["embedding"], atom["user_approved"]) == (None, None, False)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class Late(TimeoutError): 'It must not happen.'", "problem"),
        ("def is_late(train): 'A train must be late first.'", "question"),
        ("def late(train): 'Return True if the train is late.'", "question"),
        ("class Train: 'It must run.'", "pattern"),
        ("def run(train): 'The train must have an engine, by default.'", "requirement"),
        ("def stop(train): 'The default is to brake.'", "decision"),
        ("def issue(ticket): 'Prints it.'", "solution"),
        ("class Train:\n    def stop(self): 'Brakes.'", "insight"),
    ],
)
def test_the_first_rule_that_holds_gives_the_type(tmp_path: Path, source: str, expected: str) -> None:
    write(tmp_path / "trains.py", source)
    assert [atom["type"] for atom in PythonDocumentation(tmp_path).rows("atoms")] == [expected]


def test_a_class_refines_its_base_and_a_function_depends_on_what_it_raises(library: Path) -> None:
    assert links(library) >= {
        ("till.Till", "refines", "goods.Shelf"),
        ("till.JammedError", "refines", "till.DrawerError"),
        ("till.Till.open", "depends_on", "till.DrawerError"),
    }


def test_a_docstring_relates_to_what_it_names_as_its_reader_would_look_it_up(library: Path) -> None:
    named = {(source, target) for source, kind, target in links(library) if kind == "relates_to"}
    assert named == {("till.JammedError", "till.Till.open"), ("till.Till.shut", "till.Till.open")}


def test_two_atoms_have_one_link_at_most_and_a_base_outweighs_a_mention(tmp_path: Path) -> None:
    write(
        tmp_path / "shop.py",
        """
        class Shelf: 'Holds.'
        class Rack(Shelf): 'A shop.Shelf, made by shop.Shelf() and shop.Rack().'
        """,
    )
    assert links(tmp_path) == {("Rack", "refines", "Shelf")}


def test_a_name_that_is_defined_twice_is_two_atoms_and_leads_to_the_first(tmp_path: Path) -> None:
    write(
        tmp_path / "shop.py",
        """
        def refill(): 'Once.'
        def refill(): 'Twice.'
        def sell(): 'After refill().'
        """,
    )
    documentation = PythonDocumentation(tmp_path)
    assert [atom["title"] for atom in documentation.rows("atoms")] == [
        "shop.refill",
        "shop.refill",
        "shop.sell",
    ]
    assert [(link["from_atom_id"], link["to_atom_id"]) for link in documentation.rows("atom_links")] == [(3, 1)]


def test_an_atom_belongs_to_its_module_and_to_the_package_that_offers_it(library: Path) -> None:
    documentation = PythonDocumentation(library)
    topic = {row["id"]: row["name"] for row in documentation.rows("topics")}
    atom = {row["id"]: row["title"] for row in documentation.rows("atoms")}
    members = {(topic[row["topic_id"]], atom[row["atom_id"]]) for row in documentation.rows("topic_atoms")}
    own = {(title.split(".")[0] + "." + title.split(".")[1], title) for title in atom.values()}
    assert members == own | {("shop", "shop.till.Till"), ("shop", "shop.till.DrawerError")}


def test_each_paragraph_is_a_message_about_its_topic(library: Path) -> None:
    documentation = PythonDocumentation(library)
    topic = by("name", documentation.rows("topics"))["shop.till"]["id"]
    messages = [row for row in documentation.rows("messages") if row["topic_id"] == topic]
    assert [(row["external_message_id"], row["content"]) for row in messages] == [
        ("shop.till:1", "Takes money."),
        ("shop.till:2", "It never gives credit."),
    ]
    assert messages[0]["sent_at"] < messages[1]["sent_at"]


def test_a_source_is_read_in_its_own_encoding_and_never_run(tmp_path: Path) -> None:
    write(tmp_path / "bang.py", "# coding: latin-1\n'Caf\xe9.'\nraise SystemExit\n", encoding="latin-1")
    topics = by("name", PythonDocumentation(tmp_path).rows("topics"))
    assert topics["bang"]["description"] == "Café."


def test_a_file_that_does_not_parse_is_passed_over(library: Path) -> None:
    write(library / "broken.py", "def (:")
    write(library / "odd.py", "'\xe9'", encoding="latin-1")
    (library / "binary.py").write_bytes(b"x = '\0'")
    names = by("name", PythonDocumentation(library).rows("topics"))
    assert {"broken", "odd", "binary"}.isdisjoint(names)
    assert "shop" in names


@pytest.mark.parametrize("folder", ["test", "shop/test", "site-packages", "tkinter", "config-3.11-x86_64"])
def test_what_not_every_python_ships_is_left_out(library: Path, folder: str) -> None:
    before = titles(library)
    write(library / folder / "extra.py", "def extra(): 'More.'")
    assert titles(library) == before


def test_characters_that_postgresql_cannot_store_are_replaced(
    tmp_path: Path, database: Database, connection: Connection
) -> None:
    write(tmp_path / "odd.py", r"def f(): 'a\0b\ud800c'")
    load(database, PythonDocumentation(tmp_path))
    row = connection.execute("SELECT content FROM atoms").fetchone()
    assert row == {"content": "def f()\n\na\N{REPLACEMENT CHARACTER}b?c"}


def test_a_folder_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoSourcesError, match="holds no Python sources"):
        PythonDocumentation(tmp_path / "nowhere").rows("atoms")


def test_the_whole_documentation_has_every_relation_and_unique_keys(
    documentation: PythonDocumentation,
) -> None:
    kinds = Counter(link["link_type"] for link in documentation.rows("atom_links"))
    notes = Counter(row["note"] for row in documentation.rows("topic_atoms"))
    external = [row["external_message_id"] for row in documentation.rows("messages")]
    assert set(kinds) == {"refines", "depends_on", "relates_to"}
    assert set(notes) == {"defined in the module", "imported by its package", "named in the chapter"}
    assert len(external) == len(set(external))


def test_the_ids_of_the_whole_documentation_count_from_1(documentation: PythonDocumentation) -> None:
    for table in ("users", "sources", "topics", "messages", "atoms"):
        ids = [row["id"] for row in documentation.rows(table)]
        assert ids == list(range(1, len(ids) + 1))


def test_another_process_reads_the_same_rows_with_nothing_but_the_standard_library(
    documentation: PythonDocumentation,
) -> None:
    program = dedent(f"""
        from knowledge_migration.demo.python_documentation import PythonDocumentation
        documentation = PythonDocumentation()
        print(ascii([documentation.rows(table) for table in {TABLES}]))
    """)
    completed = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.strip() == ascii([documentation.rows(table) for table in TABLES])
