"""What exactly will be executed, as one hash: the SQL, the code, its version, the settings that change what is done.

The same in every process and on every machine, for a checkout and an installed wheel. A rehearsal binds it; production
refuses another one, and names what differs.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

from knowledge_migration.engine.foundation.sql_files import sql_root

PACKAGES = ("engine", "knowledge")
DIGITS = 16


@dataclass(frozen=True)
class Plan:
    """The digest of each part: files by their path within the project, settings by name, the version."""

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
    package = files("knowledge_migration")
    found = dict(_files(sql_root(), "sql", ".sql"))
    for name in PACKAGES:
        found |= dict(_files(package / name, name, ".py"))
    values = {f"setting {name}": repr(value) for name, value in settings.items()}
    return Plan({**found, **values, "version": _version()})


def _files(folder: Traversable, path: str, ending: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{path}/{entry.name}", ending)
        elif entry.name.endswith(ending):
            text = entry.read_text(encoding="utf-8").replace("\r\n", "\n")
            yield f"{path}/{entry.name}", hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _version() -> str:
    try:
        return version("knowledge_migration")
    except PackageNotFoundError:
        return "not installed"
