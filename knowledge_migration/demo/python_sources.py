"""Reads the standard library's sources: its modules, and the classes, functions and methods that they define.

Sources are parsed, never imported, so reading them runs nothing. Only what every distribution of Python ships is read,
sorted by name, so that two machines with the same Python read the same.
"""

import ast
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["class", "function", "method"]

# Left out: tests, what distributions put in packages of their own, and what only some Python versions still carry.
LEFT_OUT = frozenset(
    {"test", "idlelib", "turtledemo", "turtle", "tkinter", "lib2to3", "ensurepip", "distutils", "__pycache__"}
)
GENERATED_BY_THE_BUILD = "_sysconfigdata"

_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_DefinitionNode = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Definition:
    """A class, function or method; `name` is qualified with the module, `bases` and `raises` are as written."""

    name: str
    module: str
    kind: Kind
    line: int
    signature: str
    docstring: str
    bases: tuple[str, ...]
    raises: tuple[str, ...]

    @property
    def short_name(self) -> str:
        """The name without its module and class."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Module:
    """A module; `imports` maps its names to the qualified names they stand for, `stars` are imported whole."""

    name: str
    is_package: bool
    docstring: str
    definitions: tuple[Definition, ...]
    imports: Mapping[str, str]
    stars: tuple[str, ...]


def read_modules(library: Path) -> tuple[Module, ...]:
    """Every module under the standard library's folder, by name; a file that does not parse is passed over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        modules = [_read(path, library) for path in _source_files(library)]
    return tuple(sorted((module for module in modules if module), key=lambda module: module.name))


def _source_files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        # site-packages, lib-dynload and config-3.x-... are no identifiers, so they cannot be packages.
        if not entry.stem.isidentifier() or entry.stem in LEFT_OUT:
            continue
        if entry.suffix == ".py" and not entry.stem.startswith(GENERATED_BY_THE_BUILD):
            yield entry
        elif not entry.suffix and entry.is_dir():
            yield from _source_files(entry)


def _read(path: Path, library: Path) -> Module | None:
    try:
        with tokenize.open(path) as source:
            tree = ast.parse(source.read())
    except (SyntaxError, ValueError):  # a wrong encoding is either of them
        return None
    *packages, stem = path.relative_to(library).with_suffix("").parts
    is_package = stem == "__init__"
    name = ".".join(packages if is_package else (*packages, stem))
    imports, stars = _imports(tree.body, packages)
    return Module(
        name=name,
        is_package=is_package,
        docstring=_docstring(tree),
        definitions=tuple(_definitions(tree.body, name, name)),
        imports=imports,
        stars=stars,
    )


def _docstring(node: ast.Module | _DefinitionNode) -> str:
    """The docstring as `help()` shows it; '' when there is none."""
    return ast.get_docstring(node) or ""


def _definitions(body: Sequence[ast.stmt], module: str, scope: str) -> Iterator[Definition]:
    for node in _statements(body):
        if isinstance(node, _DEFINITIONS):
            definition = _definition(node, module, scope)
            yield definition
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, module, definition.name)


def _definition(node: _DefinitionNode, module: str, scope: str) -> Definition:
    docstring = _docstring(node)
    return Definition(
        name=f"{scope}.{node.name}",
        module=module,
        kind="class" if isinstance(node, ast.ClassDef) else "function" if scope == module else "method",
        line=node.lineno,
        signature=_signature(node) if docstring else "",
        docstring=docstring,
        bases=_names(node.bases) if isinstance(node, ast.ClassDef) else (),
        raises=() if isinstance(node, ast.ClassDef) else _raised(node.body),
    )


def _signature(node: _DefinitionNode) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in (*node.bases, *node.keywords))
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{prefix} {node.name}({ast.unparse(node.args)}){returns}"


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Every statement of a body and of the blocks in it, but not of the definitions in it."""
    for node in body:
        yield node
        if not isinstance(node, _DEFINITIONS):
            for block in _blocks(node):
                yield from _statements(block)


def _blocks(node: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield getattr(part, "body", ())
    yield getattr(node, "orelse", ())
    yield getattr(node, "finalbody", ())


def _raised(body: Sequence[ast.stmt]) -> tuple[str, ...]:
    raised = (node.exc for node in _statements(body) if isinstance(node, ast.Raise) and node.exc)
    return _names(node.func if isinstance(node, ast.Call) else node for node in raised)


def _names(nodes: Iterable[ast.expr]) -> tuple[str, ...]:
    """The dotted names among expressions, each once, in their order."""
    return tuple(dict.fromkeys(name for node in nodes if (name := _dotted(node))))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def _imports(body: Sequence[ast.stmt], packages: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    imports: dict[str, str] = {}
    stars: list[str] = []
    for node in _statements(body):
        for name, target in _imported(node, packages):
            if name == "*":
                stars.append(target)
            else:
                imports.setdefault(name, target)  # the first of several alternatives is the preferred one
    return imports, tuple(stars)


def _imported(node: ast.stmt, packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The pairs of a local name and what it stands for; for `*` that is the module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)
    elif isinstance(node, ast.ImportFrom):
        above = packages[: len(packages) - node.level + 1] if node.level else ()
        origin = ".".join((*above, *([node.module] if node.module else [])))
        for alias in node.names:
            yield alias.asname or alias.name, origin if alias.name == "*" else f"{origin}.{alias.name}"
