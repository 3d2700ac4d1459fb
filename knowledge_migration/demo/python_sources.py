"""Reads the standard library's sources: modules, their classes, functions and methods, and what a name in them refers to.

Sources are parsed, never imported, so reading them runs nothing. Only modules that every distribution of Python ships are
read. A name that leads to no definition in them (a C function, a variable) leads to None.
"""

import ast
import builtins
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Tests, modules that distributions put in packages of their own, and modules that only some Python versions have
LEFT_OUT = {"test", "idlelib", "turtledemo", "turtle", "tkinter", "lib2to3", "ensurepip", "distutils", "__pycache__"}
GENERATED_BY_THE_BUILD = "_sysconfigdata"
LONGEST_CHAIN = 6  # of imports; the longest one in the standard library has three

_DefinitionNode = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_MENTION = re.compile(r"(?<![\w.])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(\(\))?")
_BUILTIN_EXCEPTIONS = frozenset(
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
)


@dataclass(frozen=True)
class Definition:
    """A class, function or method; `name` is qualified with the module, `bases` and `raises` are as written."""

    name: str
    module: str
    kind: Literal["class", "function", "method"]
    line: int
    signature: str
    docstring: str
    bases: tuple[str, ...]
    raises: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    """A module; `imports` maps its names to the qualified names that they refer to, "*" to the modules imported whole."""

    name: str
    docstring: str
    definitions: tuple[Definition, ...]
    imports: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Sources:
    """All modules by name, in order, and the first definition of each qualified name."""

    modules: Mapping[str, Module]
    definitions: Mapping[str, Definition]

    def resolve(self, name: str, links: int = LONGEST_CHAIN) -> Definition | None:
        """The definition of a qualified name, through the modules that re-export it."""
        parts = name.split(".")
        prefixes = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
        module = next((self.modules[prefix] for prefix in prefixes if prefix in self.modules), None)
        if name in self.definitions or module is None or not links:
            return self.definitions.get(name)
        local_name = name.removeprefix(f"{module.name}.")
        first, dot, rest = local_name.partition(".")
        targets = [target + dot + rest for target in module.imports.get(first, ())[:1]]
        targets = targets or [f"{target}.{local_name}" for target in module.imports.get("*", ())]
        return next(filter(None, (self.resolve(target, links - 1) for target in targets)), None)

    def mentioned_in(self, text: str, scope: str = "") -> Iterator[Definition]:
        """The definitions that a text names as `name()` or with a dot, looked up in the scope first, then around it."""
        scopes = [scope[:end] for end in range(len(scope), 0, -1) if scope[end : end + 1] in ("", ".")]
        for name in dict.fromkeys(name for name, call in _MENTION.findall(text) if call or "." in name):
            candidates = (self.resolve(each) for each in (*(f"{outer}.{name}" for outer in scopes), name))
            if definition := next(filter(None, candidates), None):
                yield definition

    def offered_by(self, package: Module) -> Iterator[Definition]:
        """The definitions that a package imports from its own modules, so that its users import them from the package."""
        for target, *_ in package.imports.values():
            if target.startswith(f"{package.name}.") and (definition := self.resolve(target)):
                yield definition

    def is_exception(self, definition: Definition, generations: int = 20) -> bool:
        """True for a class that descends from a built-in exception."""
        for base in definition.bases if generations else ():
            parent = self.resolve(f"{definition.module}.{base}")
            if self.is_exception(parent, generations - 1) if parent else base in _BUILTIN_EXCEPTIONS:
                return True
        return False


def read_sources(library: Path) -> Sources:
    """Every module under the standard library's folder; a file that does not parse is skipped."""
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        readable = filter(None, (_read(path, library) for path in _source_files(library)))
        modules = sorted(readable, key=lambda module: module.name)
    definitions = [definition for module in modules for definition in module.definitions]
    return Sources({each.name: each for each in modules}, {each.name: each for each in reversed(definitions)})


def _source_files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir() if folder.is_dir() else ():
        name = entry.name.removesuffix(".py")
        # site-packages, lib-dynload and config-3.x-... are no identifiers, so they cannot be packages
        is_shipped = name.isidentifier() and name not in LEFT_OUT and not name.startswith(GENERATED_BY_THE_BUILD)
        if is_shipped and entry.suffix:
            yield entry
        elif is_shipped:
            yield from _source_files(entry)


def _read(path: Path, library: Path) -> Module | None:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # a wrong encoding is either of them
        return None
    *packages, stem = path.relative_to(library).with_suffix("").parts
    name = ".".join((*packages, stem)).removesuffix(".__init__")
    imports: dict[str, list[str]] = {}
    for local_name, target in (pair for node in _statements(tree) for pair in _imported(node, packages)):
        imports.setdefault(local_name, []).append(target)  # the first of several alternatives is the preferred one
    definitions = tuple(_definitions(tree, name, name))
    return Module(name, ast.get_docstring(tree) or "", definitions, imports)


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Every statement in a node and in its blocks, but not those in the definitions in it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        if not isinstance(child, (_DefinitionNode, ast.expr)):
            yield from _statements(child)


def _definitions(parent: ast.AST, module: str, scope: str) -> Iterator[Definition]:
    for node in _statements(parent):
        if isinstance(node, _DefinitionNode):
            yield _definition(node, module, scope)
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, module, f"{scope}.{node.name}")


def _definition(node: _DefinitionNode, module: str, scope: str) -> Definition:
    docstring = ast.get_docstring(node) or ""
    is_class = isinstance(node, ast.ClassDef)
    raised = (each.exc for each in _statements(node) if isinstance(each, ast.Raise) and each.exc)
    return Definition(
        name=f"{scope}.{node.name}",
        module=module,
        kind="class" if is_class else "function" if scope == module else "method",
        line=node.lineno,
        signature=_signature(node) if docstring else "",
        docstring=docstring,
        bases=_dotted_names(getattr(node, "bases", ())),
        raises=() if is_class else _dotted_names(each.func if isinstance(each, ast.Call) else each for each in raised),
    )


def _signature(node: _DefinitionNode) -> str:
    header = copy(node)
    header.body, header.decorator_list = [], []
    return ast.unparse(header).strip().removesuffix(":")


def _dotted_names(nodes: Iterable[ast.expr]) -> tuple[str, ...]:
    """The dotted names among expressions, each once, in order."""
    names = (ast.unparse(node) for node in nodes if isinstance(node, ast.Name | ast.Attribute))
    return tuple(dict.fromkeys(name for name in names if re.fullmatch(r"[\w.]+", name)))


def _imported(node: ast.stmt, packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The pairs of a local name and the qualified name that it refers to; for `*` that is the module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield (alias.asname, alias.name) if alias.asname else (top, top)
    elif isinstance(node, ast.ImportFrom):
        above = packages[: len(packages) - node.level + 1] if node.level else ()
        origin = ".".join((*above, *([node.module] if node.module else [])))
        for alias in node.names:
            yield alias.asname or alias.name, origin if alias.name == "*" else f"{origin}.{alias.name}"
