"""A topic's icon and colour from the words of its name, then of its description.

Icons are Heroicon names, colours upper-case #RRGGBB; both fit the columns of `topics` (50 and 7 characters).
"""

import re

from knowledge_migration.knowledge.extraction.text import TABLES

DEFAULT_ICON = "FolderIcon"
DEFAULT_COLOR = "#64748B"

_WORD = re.compile(r"[^\W_]+")
_COLOR_BY_ICON = {icon: line.split()[0] for icon, line in TABLES["icons"].items()}
_ICON_BY_WORD = {word: icon for icon, line in reversed(TABLES["icons"].items()) for word in line.split()[1:]}


def icon_for(name: str, description: str = "") -> str:
    """The icon of the first word that has one: the name from its last word (its head) on, then the description."""
    words = (*reversed(_WORD.findall(name.lower())), *_WORD.findall(description.lower()))
    icons = (_ICON_BY_WORD.get(word) or _ICON_BY_WORD.get(word.removesuffix("s")) for word in words)
    return next(filter(None, icons), DEFAULT_ICON)


def color_for(icon: str) -> str:
    """The icon's colour; the default for an icon without one."""
    return _COLOR_BY_ICON.get(icon, DEFAULT_COLOR)
