"""The plan of a migration as one hash: the SQL, the code, the version, and the settings that change what is executed.

Comments, docstrings and layout are not part of it. A rehearsal binds the plan; production refuses another one and names the
differences. The hash is the same for a checkout and an installed wheel, for one version of Python.
"""

import ast
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

from knowledge_migration.engine.foundation.sql_files import sql_root

PACKAGES = ("engine", "knowledge")
DIGITS = 16
SQL_TOKEN = re.compile(
    r"(?P<kept>^--\ name:[^\n]*|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"[^\"]*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
    r"|--[^\n]*|/\*.*?\*/|\s+",
    re.DOTALL | re.MULTILINE,
)
"""Names of queries, strings, quoted names and function bodies are kept as written; comments and blanks become one blank."""


@dataclass(frozen=True)
class Plan:
    """The digest of each part: files by their path within the project, settings by variable, the version."""

    parts: Mapping[str, str]

    @property
    def hash(self) -> str:
        """Of all parts."""
        together = "\n".join(f"{name}={self.parts[name]}" for name in sorted(self.parts))
        return hashlib.sha256(together.encode()).hexdigest()

    def differing(self, other: Mapping[str, str]) -> list[str]:
        """The parts that are not the same in another plan."""
        return sorted(name for name in self.parts.keys() | other.keys() if self.parts.get(name) != other.get(name))


def present_plan(settings: Mapping[str, object]) -> Plan:
    """The plan that this process would execute with these settings."""
    values = {f"setting {name}": repr(value) for name, value in settings.items()}
    return Plan({**_sources(), **values, "version": _version()})


def sql_without_comments(text: str) -> str:
    """The statements of a SQL file without comments, with single blanks."""
    return re.sub(r" +", " ", SQL_TOKEN.sub(lambda token: token["kept"] or " ", text)).strip()


def code_without_docstrings(text: str) -> str:
    """The syntax tree of a Python file; a text that stands alone is a docstring and is left out."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [one for one in body if not _is_docstring(one)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


@cache
def _sources() -> Mapping[str, str]:
    """The digests of the files; a process executes the code that it has loaded, so they are computed once."""
    package = files("knowledge_migration")
    sources = dict(_digests(sql_root(), "sql", ".sql", sql_without_comments))
    for name in PACKAGES:
        sources |= dict(_digests(package / name, name, ".py", code_without_docstrings))
    return sources


def _digests(folder: Traversable, path: str, ending: str, content: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _digests(entry, f"{path}/{entry.name}", ending, content)
        elif entry.name.endswith(ending):
            text = content(entry.read_text(encoding="utf-8").replace("\r\n", "\n"))
            yield f"{path}/{entry.name}", hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _version() -> str:
    try:
        return version("knowledge_migration")
    except PackageNotFoundError:
        return "not installed"
