"""Who may import whom, and where SQL may stand: the arrows of the design, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "knowledge_migration"

SHELLS = ("dagster", "knowledge_migration.defs", "knowledge_migration.definitions", "knowledge_migration.commands.main")
PAGES = ("nicegui", "knowledge_migration.pages")
READERS = ("knowledge_migration.settings.load_settings", "knowledge_migration.installation")
"""They read the environment; who takes a section of the settings does not."""
FORBIDDEN = {
    "engine": (*SHELLS, *PAGES, *READERS),
    "knowledge": (*SHELLS, *PAGES, *READERS, "knowledge_migration.engine"),
    "pages": (
        *SHELLS,
        *READERS,
        "knowledge_migration.commands",
    ),
    "defs": PAGES,
    "quality": PAGES,
    "demo/traffic": PAGES,
}
SQL_VERBS = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "ALTER ", "CREATE ", "DROP ", "GRANT ", "TRUNCATE ", "WITH ")


def sources(folder: str = ".") -> list[Path]:
    """The Python files of a folder of the package."""
    return sorted((PACKAGE / folder).rglob("*.py"))


def tree(file: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_arrows_go_one_way(folder: str) -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {module}"
        for file in sources(folder)
        for module in imported(file)
        if any(module == name or module.startswith((f"{name}.", f"{name}_")) for name in FORBIDDEN[folder])
    ]

    assert sources(folder)
    assert wrong == []


def test_an_init_file_holds_a_docstring_and_nothing_else() -> None:
    inits = [file for file in sources() if file.name == "__init__.py"]
    talkative = [file for file in inits if not (ast.get_docstring(tree(file)) and len(tree(file).body) == 1)]

    assert {folder.parent for folder in sources()} == {file.parent for file in inits}
    assert talkative == []


def test_no_statement_is_put_together_by_an_f_string() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in sources()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.JoinedStr) and opening(node).lstrip().startswith(SQL_VERBS)
    ]

    assert found == []


def opening(text: ast.JoinedStr) -> str:
    """The constant that an f-string begins with."""
    first = text.values[0] if text.values else None
    return str(first.value) if isinstance(first, ast.Constant) else ""
