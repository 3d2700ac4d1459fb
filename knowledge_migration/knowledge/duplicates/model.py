"""What is searched for, what the answer is, and from which scores on. Scores are 0 to 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SimilarityType = Literal["exact", "spelling", "meaning"]


@dataclass(frozen=True)
class Candidate:
    """A proposed topic or atom; `embedding` is of `meaning.text_of_atom`, from the model that made the stored ones."""

    label: str
    detail: str
    embedding: Sequence[float] | None = None


@dataclass(frozen=True)
class Similar:
    """The existing topic or atom that a candidate is most similar to."""

    entity_id: int
    score: float
    type: SimilarityType


@dataclass(frozen=True)
class DuplicateOptions:
    """Thresholds (see docs/benchmarks.md) and limits of the search.

    Scores of meaning are on the application's scale `1 - cosine_distance / 2`; that of atoms is not measured. Above
    `most_names_held` names of a kind (100,000 take 47 MB, and 128 MB for their meaning), spelling is searched through pg_trgm or
    not at all, and meaning is not. `full_refresh_seconds` is how
    long a rename or a new trigram index may go unnoticed, `confirmed` how many names of a candidate are read again.
    """

    topic_spelling_from: float = 0.70
    atom_spelling_from: float = 0.98
    topic_meaning_from: float = 0.895
    atom_meaning_from: float = 0.925
    most_names_held: int = 200_000
    full_refresh_seconds: float = 300.0
    confirmed: int = 5
