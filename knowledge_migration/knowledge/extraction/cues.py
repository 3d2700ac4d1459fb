"""The tables of cues.toml: cues of a sentence's role, and words that name no subject."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from knowledge_migration.knowledge.extraction.model import AtomType, LinkType

HINT, CLEAR, EXPLICIT = 0.58, 0.72, 0.88  # the confidence of an atom by its cue alone

TABLES: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("cues.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Role:
    """The type of a sentence by its strongest cue."""

    type: AtomType
    strength: float
    cue: str


def _by_phrase(table: str) -> dict[str, str]:
    """The key of each phrase; "^" at a phrase's start becomes a word."""
    return {phrase.replace("^", "^ "): key for key, phrases in TABLES[table].items() for phrase in phrases.split("|")}


LABELS: Mapping[str, AtomType] = _by_phrase("labels")  # type: ignore[assignment]
OPENINGS: Mapping[str, LinkType] = _by_phrase("openings")  # type: ignore[assignment]
# None: no cue, and neither are the cues within it
ROLES: Mapping[str, Role | None] = {
    phrase: None if type == "none" else Role(type, strength, phrase.removeprefix("^ "))  # type: ignore[arg-type]
    for table, strength in (("hint", HINT), ("clear", CLEAR), ("explicit", EXPLICIT))
    for phrase, type in _by_phrase(table).items()
}
# the longest counts where several begin with one word
CUE = re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, sorted(ROLES, key=len, reverse=True)))})(?!\S)")
HEDGES = tuple(f" {hedge} " for hedge in TABLES["words"]["hedges"].split("|"))
OPENERS, INTERROGATIVES, COMMIT_VERBS, GENERIC, FILLER = (
    frozenset(TABLES["words"][name].split())
    for name in ("openers", "interrogatives", "commit_verbs", "generic", "filler")
)
LANGUAGES: tuple[str, ...] = tuple(TABLES["words"]["languages"].split())
