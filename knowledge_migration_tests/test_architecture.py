"""The structure of the design, read from the source: who may import whom, no cycles, where SQL may occur, the words in use."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "knowledge_migration"
ROOT = PACKAGE.name

SHELLS = ("dagster", f"{ROOT}.defs", f"{ROOT}.definitions", f"{ROOT}.commands")
PAGES = ("nicegui", f"{ROOT}.pages")
READERS = (f"{ROOT}.settings.load_settings", f"{ROOT}.installation")
"""They read the environment; code that takes a section of the settings does not."""

FORBIDDEN = {
    "engine": (*SHELLS, *PAGES, *READERS, f"{ROOT}.quality", f"{ROOT}.demo"),
    "knowledge": (*SHELLS, *PAGES, *READERS, f"{ROOT}.engine", f"{ROOT}.quality", f"{ROOT}.demo"),
    "pages": (*SHELLS, *READERS),
    "defs": (*PAGES, f"{ROOT}.commands"),
    "quality": (*SHELLS, *PAGES, f"{ROOT}.demo"),
    "demo": (*PAGES, f"{ROOT}.defs", f"{ROOT}.commands"),
}
"""What the modules of a folder never import."""

PHASES = ("preparation", "schema", "dual_write", "backfill", "cutover", "cleanup")
ABOVE_THE_PHASES = ("rollback", "validation", "status", "rehearsal", "recovery", "observability")
BELOW_THE_PHASES = ("foundation", "backup")

SQL_VERBS = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "ALTER ", "CREATE ", "DROP ", "GRANT ", "TRUNCATE ", "WITH ")
LONGEST_MODULE_DOCSTRING_LINES = 5

REPLACED_WORDS = re.compile(
    r"\bways? back\b|\bwent.?back\b|\bgo(es|ing)?.back\b|obey|obedience|\bflip(s|ped)?\b|quick.?look|close.?look|"
    r"\bstanding\b|fence.?patience|told.clearly|failing.clearly|whole_file|double_claims?\b|wrong_approvals?\b|\bdesk\b|"
    r"held.names|judge.criteria|load_the_service|draw.metrics|(?<!_)unrehearsed|\bmended\b|\bproofs?\b|never made|"
    r"say who i am|\bwhoever\b|is not shown|broken by \d|\ba tenth of\b|passed \d+ of \d+ times",
    re.IGNORECASE,
)
"""Terms that a standard term has replaced."""


@cache
def sources(folder: str = ".") -> tuple[Path, ...]:
    """The Python files of a folder of the package."""
    return tuple(sorted((PACKAGE / folder).rglob("*.py")))


@cache
def tree(file: Path) -> ast.Module:
    """The file's syntax tree."""
    return ast.parse(file.read_text(encoding="utf-8"))


def module_name(file: Path) -> str:
    """The dotted name of a file of the package."""
    parts = file.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    """Each import of the folder that is forbidden."""
    return [
        f"{file.relative_to(PACKAGE)} imports {module}"
        for file in sources(folder)
        for module in imported(file)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_go_one_way(folder: str) -> None:
    assert sources(folder)
    assert imports_of(folder, FORBIDDEN[folder]) == []


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_imports_the_foundation_and_earlier_phases_only(phase: str) -> None:
    later = (*PHASES[PHASES.index(phase) + 1 :], *ABOVE_THE_PHASES)

    assert sources(f"engine/{phase}")
    assert imports_of(f"engine/{phase}", tuple(f"{ROOT}.engine.{name}" for name in later)) == []


@pytest.mark.parametrize("package", BELOW_THE_PHASES)
def test_the_foundation_imports_nothing_else_of_the_engine(package: str) -> None:
    below = BELOW_THE_PHASES[: BELOW_THE_PHASES.index(package) + 1]
    others = {file.name for file in (PACKAGE / "engine").iterdir() if file.is_dir()} - {*below, "__pycache__"}

    assert imports_of(f"engine/{package}", tuple(f"{ROOT}.engine.{name}" for name in others)) == []


def sibling_imports() -> dict[str, dict[str, set[str]]]:
    """Per folder: which of its members (modules and folders) import which others."""
    modules = {module_name(file) for file in sources()}
    graph: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in sources():
        importer = module_name(file).split(".")
        for name in imported(file):
            target = name.split(".")
            common = next((i for i, (a, b) in enumerate(zip(importer, target, strict=False)) if a != b), 0)
            if name in modules and common:
                graph[".".join(importer[:common])][importer[common]].add(target[common])
    return graph


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Every member that `start` imports, directly or through others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for member in graph.get(waiting.pop(), set()) - seen:
            seen.add(member)
            waiting.append(member)
    return seen


def test_no_package_has_an_import_cycle() -> None:
    graph = sibling_imports()
    cycles = {
        folder: sorted(member for member in members if member in reachable(members, member))
        for folder, members in graph.items()
    }

    assert len(graph) > 10
    assert {folder: members for folder, members in cycles.items() if members} == {}


def test_an_init_file_holds_a_docstring_and_nothing_else() -> None:
    inits = [file for file in sources() if file.name == "__init__.py"]
    talkative = [file for file in inits if not (ast.get_docstring(tree(file)) and len(tree(file).body) == 1)]

    assert {folder.parent for folder in sources()} == {file.parent for file in inits}
    assert talkative == []


def test_a_module_states_its_contract_in_at_most_five_lines() -> None:
    too_long = [
        str(file.relative_to(PACKAGE))
        for file in sources()
        if len((ast.get_docstring(tree(file)) or "").splitlines()) > LONGEST_MODULE_DOCSTRING_LINES
    ]

    assert too_long == []


def test_no_statement_is_put_together_by_an_f_string() -> None:
    composed = [
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in sources()
        for node in ast.walk(tree(file))
        if isinstance(node, ast.JoinedStr) and first_constant(node).lstrip().startswith(SQL_VERBS)
    ]

    assert composed == []


def test_an_address_is_parsed_in_one_place() -> None:
    parsing = {
        str(file.relative_to(PACKAGE))
        for file in sources()
        if {name.id for name in ast.walk(tree(file)) if isinstance(name, ast.Name)} & {"make_url", "urlparse"}
    }

    assert parsing == {
        "addresses.py",
        "engine/foundation/embedded_server.py",
    }  # the second reads its own server's address


def first_constant(text: ast.JoinedStr) -> str:
    """The constant that an f-string begins with."""
    first = text.values[0] if text.values else None
    return str(first.value) if isinstance(first, ast.Constant) else ""


def texts() -> list[Path]:
    """Everything that people read: code, SQL, pages, documentation, deployment."""
    folders = [PROJECT / name for name in (ROOT, "sql", "docs", "deploy")]
    endings = {".py", ".sql", ".md", ".j2", ".js", ".css", ".yaml", ".yml", ".json"}
    inside = [file for folder in folders for file in folder.rglob("*") if file.suffix in endings]
    return [*inside, *(PROJECT / name for name in ("README.md", "Makefile", "dagster.yaml", "pyproject.toml"))]


def test_one_standard_term_names_each_concept() -> None:
    replaced = [
        f"{file.relative_to(PROJECT)}:{number}: {match[0]}"
        for file in texts()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (match := REPLACED_WORDS.search(line))
    ]

    assert len(texts()) > 200
    assert replaced == []


def test_no_test_module_imports_another() -> None:
    tests = Path(__file__).parent
    found = [
        f"{file.relative_to(tests)}: {line}"
        for file in tests.rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(from|import) knowledge_migration_tests\.(\w+\.)*test_", line)
    ]
    assert found == []
