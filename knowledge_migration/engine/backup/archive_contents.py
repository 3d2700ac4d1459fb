"""The table of contents of a dump: which tables it holds, and which of its entries a proof restores."""

import re
from dataclasses import dataclass

ENTRY = re.compile(r"^\d+; \d+ \d+ (?P<what>.*)$")

# They hold no row. Restored, some would reach out of the scratch database (subscriptions, publications), some would run
# the user's code in it (event triggers, materialized views), the rest need roles that the scratch server may not have.
LEFT_OUT = (
    "ACL ",
    "COMMENT ",
    "DEFAULT ACL ",
    "EVENT TRIGGER ",
    "MATERIALIZED VIEW DATA ",
    "POLICY ",
    "PUBLICATION ",
    "ROW SECURITY ",
    "SECURITY LABEL ",
    "SUBSCRIPTION ",
)


@dataclass(frozen=True)
class Contents:
    """The entries of an archive, as pg_restore lists them."""

    lines: tuple[str, ...]

    @classmethod
    def listed(cls, text: str) -> "Contents":
        """Of the output of `pg_restore --list`."""
        return cls(tuple(line for line in text.splitlines() if ENTRY.match(line)))

    def has_table(self, schema: str, name: str) -> bool:
        """Whether the definition of this table is in the archive."""
        wanted = f"TABLE {schema} {name} "  # the owner follows
        return any(_what(line).startswith(wanted) for line in self.lines)

    @property
    def restored(self) -> str:
        """The list for `pg_restore --use-list`: all but what a proof leaves out."""
        return "".join(f"{line}\n" for line in self.lines if not _what(line).startswith(LEFT_OUT))


def _what(line: str) -> str:
    matched = ENTRY.match(line)
    return matched["what"] if matched else ""
