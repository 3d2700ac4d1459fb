"""The tables of cues.toml: cues of a sentence's role, and words that name no subject."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from knowledge_migration.knowledge.extraction.model import AtomType, LinkType

HINT, CLEAR, EXPLICIT = 0.58, 0.72, 0.88  # the confidence of an atom by its cue alone

TABLES: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("cues.toml").read_text(encoding="utf-8"))


def _by_phrase(table: Mapping[str, str]) -> dict[str, str]:
    return {phrase: key for key, phrases in table.items() for phrase in phrases.split("|")}


LABELS: Mapping[str, AtomType] = _by_phrase(TABLES["labels"])  # type: ignore[assignment]
OPENINGS: Mapping[str, LinkType] = _by_phrase(TABLES["openings"])  # type: ignore[assignment]
# None: no cue, and neither are the cues within it
ROLE_OF_CUE: Mapping[str, tuple[AtomType | None, float]] = {
    phrase: (None if type == "none" else type, strength)  # type: ignore[misc]
    for table, strength in (("hint", HINT), ("clear", CLEAR), ("explicit", EXPLICIT))
    for phrase, type in _by_phrase(TABLES[table]).items()
}
LONGEST_CUE = max(len(phrase.split()) for phrase in ROLE_OF_CUE)
HEDGES = tuple(f" {hedge} " for hedge in TABLES["words"]["hedges"].split("|"))
OPENERS, INTERROGATIVES, COMMIT_VERBS, GENERIC, FILLER = (
    frozenset(TABLES["words"][name].split())
    for name in ("openers", "interrogatives", "commit_verbs", "generic", "filler")
)
LANGUAGES: tuple[str, ...] = tuple(TABLES["words"]["languages"].split())
