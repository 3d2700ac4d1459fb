"""From which score on something counts as similar, and how much is held in memory."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DuplicateOptions:
    """Scores are 0 to 1."""

    topic_spelling_from: float = 0.70
    atom_spelling_from: float = 0.98
    atom_meaning_from: float = 0.925
    """On the application's scale `1 - cosine_distance / 2`: a cosine of 0.85. Not measured, the data has no embeddings."""

    most_names_held: int = 200_000
    """Of topics and of atoms each; 100,000 names take 47 MB. Above it, spelling is searched through pg_trgm or not at all."""

    full_refresh_seconds: float = 300.0
    """How long a rename or a trigram index that came or went may go unnoticed; it never makes an answer wrong."""

    confirmed: int = 5
    """How many of the names found in memory are read again for each candidate."""
