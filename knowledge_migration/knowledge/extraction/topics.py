"""Topics from key phrases: which phrases the messages are about, and how sure that is.

The confidence adds up what speaks for a phrase. A phrase that a writer marked reaches 0.7, the threshold of direct mode,
and so does a name of several words; a plain phrase has to return for that, and only what returns in several messages
and is a name or marked besides reaches 0.95.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knowledge_migration.knowledge.extraction.model import ExtractedTopic
from knowledge_migration.knowledge.extraction.phrases import Phrase
from knowledge_migration.knowledge.extraction.sentences import Sentence

MAX_TOPICS = 5  # more subjects than that in one extraction are words, not subjects
CHARACTERS_PER_TOPIC = 300  # a message alone has one topic and one more for each paragraph's worth of text
LEAST_CONFIDENCE = 0.5  # below: one plain word, once
MOST_CONFIDENCE = 0.99
DESCRIPTION_CHARACTERS = 300
MAX_KEYWORDS = 5

_ANY_PHRASE = 0.45
_MARKED = 0.25
_NAMED = 0.12
_SEVERAL_WORDS = 0.14
_EACH_FURTHER_MENTION = 0.06
_EACH_FURTHER_MESSAGE = 0.12
_BEST_RANKED = 0.05
_MOST_FOR_ONCE = 0.9  # however it is written
_COUNTED = 3  # further mentions or messages than that make nobody surer


@dataclass(frozen=True)
class Candidate:
    """A phrase with the sentences that mention it, and how often they do."""

    phrase: Phrase
    sentences: tuple[Sentence, ...]
    mentions: int

    @property
    def message_ids(self) -> tuple[int, ...]:
        """The messages that mention it, in order."""
        return tuple(dict.fromkeys(sentence.message.id for sentence in self.sentences))

    @property
    def confidence(self) -> float:
        """How sure it is that the messages are about it, 0 to 1."""
        several_words = " " in self.phrase.name
        total = (
            _ANY_PHRASE
            + _MARKED * self.phrase.marked
            + _NAMED * self.phrase.named
            + _SEVERAL_WORDS * several_words
            + _EACH_FURTHER_MENTION * min(self.mentions - 1, _COUNTED)
            + _EACH_FURTHER_MESSAGE * min(len(self.message_ids) - 1, _COUNTED)
            + _BEST_RANKED * (self.phrase.rank == 0)
        )
        return round(min(total, MOST_CONFIDENCE if self.mentions > 1 else _MOST_FOR_ONCE), 2)


def topics_of(phrases: Iterable[Phrase], sentences: Sequence[Sentence]) -> list[ExtractedTopic]:
    """The topics, surest first; two never share half of their words."""
    candidates = sorted((found for phrase in phrases if (found := _found(phrase, sentences))), key=_merit)
    sure = [candidate for candidate in candidates if candidate.confidence >= LEAST_CONFIDENCE]
    chosen = sorted(_chosen(sure, _most_topics(sentences)), key=_merit)
    messages = len({sentence.message.id for sentence in sentences})
    return [_topic(candidate, candidates, messages) for candidate in chosen]


def _chosen(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """The best candidates, of which each first adds a message that the better ones leave out, then any."""
    chosen: list[Candidate] = []
    for adds_message in (True, False):
        for candidate in candidates:
            covered = {id for other in chosen for id in other.message_ids}
            wanted = not adds_message or not covered.issuperset(candidate.message_ids)
            if len(chosen) < most and wanted and not any(_overlap(candidate, other) for other in chosen):
                chosen.append(candidate)
    return chosen


def _found(phrase: Phrase, sentences: Sequence[Sentence]) -> Candidate | None:
    """The phrase with where it occurs, its plural included; None if it does not occur or is no subject."""
    forms = (f" {phrase.name} ", f" {phrase.name}s ")
    mentioning = tuple(sentence for sentence in sentences if any(form in sentence.spoken for form in forms))
    mentions = sum(sentence.spoken.count(form) for sentence in mentioning for form in forms)
    return Candidate(phrase, mentioning, mentions) if mentions > _is_fragment(phrase) else None


def _is_fragment(phrase: Phrase) -> bool:
    """True for three plain words: said once, they are a part of a sentence and no subject ("gateway rejects cards")."""
    return phrase.name.count(" ") > 1 and not phrase.marked and not phrase.named


def _merit(candidate: Candidate) -> tuple[float, int, str]:
    return -candidate.confidence, candidate.phrase.rank, candidate.phrase.name


def _most_topics(sentences: Sequence[Sentence]) -> int:
    messages = len({sentence.message.id for sentence in sentences})
    characters = sum(len(sentence.text) for sentence in sentences)
    return min(MAX_TOPICS, messages + characters // CHARACTERS_PER_TOPIC)


def _overlap(one: Candidate, other: Candidate) -> bool:
    """True if at least half of the words of the shorter phrase are in the longer one."""
    words, others = ({word.removesuffix("s") for word in each.phrase.name.split()} for each in (one, other))
    return len(words & others) * 2 >= min(len(words), len(others))


def _topic(candidate: Candidate, candidates: Sequence[Candidate], messages: int) -> ExtractedTopic:
    return ExtractedTopic(
        name=candidate.phrase.name,
        description=shortened(candidate.sentences[0].text, DESCRIPTION_CHARACTERS),
        confidence=candidate.confidence,
        keywords=_keywords(candidate, candidates),
        related_message_ids=candidate.message_ids,
        reasoning=_reasoning(candidate, messages),
    )


def _keywords(candidate: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Other phrases of the sentences that mention this one."""
    near = set(candidate.sentences)
    others = (other for other in candidates if other is not candidate and not near.isdisjoint(other.sentences))
    return tuple(other.phrase.name for other, _ in zip(others, range(MAX_KEYWORDS), strict=False))


def _reasoning(candidate: Candidate, messages: int) -> str:
    times = "once" if candidate.mentions == 1 else f"{candidate.mentions} times"
    why = [
        f'The phrase "{candidate.phrase.name}" occurs {times}, in {len(candidate.message_ids)} of {messages} messages'
    ]
    if candidate.phrase.marked:
        why.append("a writer set it apart (in a subject line, a heading, quotes or code)")
    if candidate.phrase.named:
        why.append("it is written as a name")
    return "; ".join(why) + "."


def shortened(text: str, characters: int) -> str:
    """The text, cut at a word's end with an ellipsis if it is longer."""
    if len(text) <= characters:
        return text
    cut = text[: characters - 1]
    return f"{cut.rpartition(' ')[0].rstrip(' ,;:-') or cut}…"
