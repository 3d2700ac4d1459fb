"""The forms of a name that are compared, and the one score of spelling that every search uses.

The score is the greater of the share of common trigrams (as pg_trgm counts them) and of the edit similarity of letters and
digits, which counts from 0.9 only. Names that differ in case and white space only score 0.99, all others at most 0.98.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from sys import intern

SPELLING_COUNTS_FROM = 0.9
"""Below it, names that share their letters but not their trigrams are rarely the same thing (see `near_duplicates`)."""

SAME_BUT_FOR_CASE = 0.99
MOST_OF_OTHERS = 0.98


def normalised(name: str) -> str:
    """The name in one case, with each run of white space as one blank."""
    return " ".join(name.casefold().split())


def squeezed(name: str) -> str:
    """The letters and digits of the name alone; the normalised name itself where it has none ("++")."""
    return re.sub(r"[\W_]+", "", normalised(name)) or normalised(name)


def words(name: str) -> list[str]:
    """The runs of letters and digits that trigrams are taken of."""
    return re.findall(r"[^\W_]+", normalised(name))


def trigrams(name: str) -> frozenset[str]:
    """The trigrams of a name as pg_trgm's `show_trgm` has them: of each word, with two blanks before and one after.

    Equal trigrams are one string, which halves the memory of many names.
    """
    padded = (f"  {word} " for word in words(name))
    return frozenset(intern(word[at : at + 3]) for word in padded for at in range(len(word) - 2))


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells two names apart that are spelled alike: signs ("C", "C++") and numbers ("Release 22", "Release 23").

    Without marks 34,940 pairs of 10,521 real atom titles score 0.9 or more, nearly all like "Newsletter #62".
    """

    signs: tuple[str, ...]
    numbers: tuple[str, ...]

    def tell_apart(self, other: "Marks") -> bool:
        """Other signs, or other numbers where both have some."""
        return self.signs != other.signs or bool(self.numbers and other.numbers and self.numbers != other.numbers)


def marks(name: str) -> Marks:
    """The signs and the numbers of a name, in their order. A "#" before a word (a hashtag) is none."""
    return Marks(tuple(re.findall(r"(?<=\w)[+#]+", name)), tuple(re.findall(r"\d+", name)))


@dataclass(frozen=True)
class Spelling:
    """One name in the forms that are compared."""

    name: str

    @cached_property
    def normalised(self) -> str:
        return normalised(self.name)

    @cached_property
    def squeezed(self) -> str:
        return squeezed(self.name)

    @cached_property
    def trigrams(self) -> frozenset[str]:
        return trigrams(self.name)

    @cached_property
    def marks(self) -> Marks:
        return marks(self.name)

    def score(self, other: "Spelling") -> float:
        """How alike the two are spelled, 0 to 0.99; 0 where a mark tells them apart or one of them is blank."""
        if not self.normalised or not other.normalised:
            return 0.0
        if self.normalised == other.normalised:
            return SAME_BUT_FOR_CASE
        if self.marks.tell_apart(other.marks):
            return 0.0
        return min(MOST_OF_OTHERS, max(self._shared_trigrams(other), self._same_letters(other)))

    def _shared_trigrams(self, other: "Spelling") -> float:
        every = len(self.trigrams | other.trigrams)
        return len(self.trigrams & other.trigrams) / every if every else 0.0

    def _same_letters(self, other: "Spelling") -> float:
        from rapidfuzz import fuzz  # the code location is loaded without it

        cutoff = 100 * SPELLING_COUNTS_FROM
        return fuzz.ratio(self.squeezed, other.squeezed, score_cutoff=cutoff) / 100
