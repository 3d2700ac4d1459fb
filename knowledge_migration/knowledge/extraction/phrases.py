"""Key phrases of messages: those that yake ranks and those that the writers marked, each under one normal name.

A name is the phrase's words in lower case with single spaces, so that the same phrase of other messages has exactly the
same name. yake reads at most `PHRASE_CHARACTERS` of each message and `PHRASE_CHARACTERS_IN_ALL`: its time grows with the
text (1,500 characters took 11 ms at the 95th percentile, 800 took 6 ms). It is imported with the first phrase, since
that takes 0.4 s, and its stopword lists are read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from knowledge_migration.knowledge.extraction.marks import identifiers, marked_phrases, subjects
from knowledge_migration.knowledge.extraction.model import Message
from knowledge_migration.knowledge.extraction.sentences import Sentence, spoken, without_unstorable, words_of
from knowledge_migration.knowledge.extraction.vocabulary import FILLER_WORDS, GENERIC_WORDS

if TYPE_CHECKING:
    from yake import KeywordExtractor

PHRASE_CHARACTERS = 400
PHRASE_CHARACTERS_IN_ALL = 6_000
PHRASE_WORDS = 3
RANKED_PHRASES = 20  # four times the topics of an extraction: many overlap and are dropped
NAME_CHARACTERS = 60
WORD_CHARACTERS = 30  # longer "words" are hashes, paths, or text of a script without spaces

# Those of yake's stopword lists but for two in another encoding ("lt", "sk"). English first: it wins a tie.
LANGUAGES: tuple[str, ...] = (
    "en", "ar", "bg", "br", "cz", "da", "de", "el", "es", "et", "fa", "fi", "fr", "hi", "hr", "hu", "hy", "id", "it", "ja",
    "lv", "nl", "no", "pl", "pt", "ro", "ru", "sl", "sv", "tr", "uk", "zh",
)  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """A key phrase. `rank` is its place among yake's (0 is the best); `marked` if a writer set it apart; `named` if it
    has the shape of a name."""

    name: str
    rank: int
    marked: bool
    named: bool


def key_phrases(messages: Sequence[Message], sentences: Sequence[Sentence]) -> list[Phrase]:
    """The phrases that the messages may be about, the same for the same messages; in no order of merit."""
    marked, shaped = _set_apart(messages)
    ranked = _ranked(sentences)
    names = dict.fromkeys((*marked, *shaped, *ranked))
    capitalised = _capitalised(sentences, names)
    return [
        Phrase(
            name,
            rank=ranked.get(name, len(ranked)),
            marked=name in marked,
            named=name in shaped or name in capitalised,
        )
        for name in names
    ]


def phrase_name(phrase: str, untold: Set[str]) -> str | None:
    """The phrase's normal name; None for what cannot name a subject: a number, a hash, a path, a letter, generic words
    only, or a phrase that starts or ends with one of the `untold` words."""
    words = [word.removesuffix("'s") for word in words_of(phrase)]
    name = " ".join(words)
    if not 2 <= len(name) <= NAME_CHARACTERS or any(len(word) > WORD_CHARACTERS for word in words):
        return None
    if GENERIC_WORDS.issuperset(words) or name.count("/") > 1:
        return None
    telling = (
        len(word) > 1 and word not in untold and any(c.isalpha() for c in word) for word in (words[0], words[-1])
    )
    return name if all(telling) else None


def _set_apart(messages: Sequence[Message]) -> tuple[dict[str, None], dict[str, None]]:
    """Names of the phrases that are marked, and of those that have the shape of a name, in order of appearance."""
    marked: dict[str, None] = {}
    shaped: dict[str, None] = {}
    for message in messages:
        start = without_unstorable(message.content[:PHRASE_CHARACTERS])
        marked |= _names(subjects(start), _stopwords_of("en")) | _names(marked_phrases(start))
        shaped |= _names(identifiers(start))
    return marked, shaped


def _names(phrases: Iterable[str], untold: Set[str] | None = None) -> dict[str, None]:
    return dict.fromkeys(name for phrase in phrases if (name := phrase_name(phrase, untold or _grammar())))


def _ranked(sentences: Sequence[Sentence]) -> dict[str, int]:
    """yake's phrases, best first, with their rank."""
    text = " | ".join(_within_limits(sentences))  # a bar, so that no phrase spans two sentences
    if not text:
        return {}
    extractor = _yake(_language(sentences))
    phrases = (phrase for phrase, _ in extractor.extract_keywords(text))
    names = (name for name in _names(phrases) if not _is_part_of_a_sentence(name))
    return {name: rank for rank, name in enumerate(names)}


def _is_part_of_a_sentence(name: str) -> bool:
    """True for an adverb ("potentially"), and with words between that name nothing ("defang your attacker")."""
    words = name.split()
    return any(word.endswith("ly") for word in words) or not _grammar().isdisjoint(words)


def _within_limits(sentences: Sequence[Sentence]) -> Iterator[str]:
    """The sentences' texts, as much of each message and of all as yake is given."""
    left_in_all = PHRASE_CHARACTERS_IN_ALL
    left: dict[int, int] = {}
    for sentence in sentences:
        allowed = min(left.get(sentence.message.id, PHRASE_CHARACTERS), left_in_all)
        text = sentence.text[:allowed]
        left[sentence.message.id] = allowed - len(text)
        left_in_all -= len(text)
        if text:
            yield text


def _capitalised(sentences: Sequence[Sentence], names: Iterable[str]) -> set[str]:
    """The names that stand with capitals inside of a sentence, where grammar asks for none."""
    proper = " | ".join(
        " ".join(word if word[:1].isupper() else "·" for word in sentence.text.split()[1:]) for sentence in sentences
    )
    written = spoken(words_of(proper.replace("·", "0")))
    return {name for name in names if f" {name} " in written}


def _language(sentences: Sequence[Sentence]) -> str:
    """The language whose stopwords the text has most of."""
    hits = dict.fromkeys(LANGUAGES, 0)
    lists = _stopwords()
    for sentence in sentences[:20]:
        for word in sentence.words:
            for language in lists.get(word, ()):
                hits[language] += 1
    return max(hits, key=lambda language: hits[language])


@lru_cache(maxsize=1)
def _stopwords() -> dict[str, tuple[str, ...]]:
    """Each stopword with its languages."""
    languages: dict[str, tuple[str, ...]] = {}
    for language in LANGUAGES:
        for word in _stopwords_of(language):
            languages[word] = (*languages.get(word, ()), language)
    return languages


@lru_cache(maxsize=1)
def _grammar() -> frozenset[str]:
    """English words that name nothing by themselves."""
    return FILLER_WORDS | _stopwords_of("en")


@lru_cache(maxsize=len(LANGUAGES))
def _stopwords_of(language: str) -> frozenset[str]:
    """yake's own list."""
    from yake import KeywordExtractor

    return frozenset(KeywordExtractor(lan=language).stopword_set)


@lru_cache(maxsize=len(LANGUAGES))
def _yake(language: str) -> KeywordExtractor:
    """One extractor a language. It compares no phrases by likeness (`dedup_lim`), so it keeps no state between texts."""
    from yake import KeywordExtractor

    stopwords = set(_stopwords_of(language) | _grammar())
    return KeywordExtractor(lan=language, n=PHRASE_WORDS, dedup_lim=1.0, top=RANKED_PHRASES, stopwords=stopwords)
