"""Atoms from sentences with a role, each under the topic that fits it best, and the links between them.

A clear cue alone gives 0.72, above the threshold of direct mode (0.7); a hint needs its topic in the sentence and an
answer or problem that it belongs to; an explicit label or "must" reaches 0.95 if the sentence names its topic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from knowledge_migration.knowledge.extraction.cues import Strength
from knowledge_migration.knowledge.extraction.model import AtomType, ExtractedAtom, ExtractedTopic, LinkType
from knowledge_migration.knowledge.extraction.roles import Role, is_hedged, role_of, without_label, without_opening
from knowledge_migration.knowledge.extraction.sentences import Sentence
from knowledge_migration.knowledge.extraction.topics import MOST_CONFIDENCE, shortened

MAX_ATOMS = 10  # a reviewer reads them all; the surest are kept
TITLE_CHARACTERS = 120  # the column takes 200; a title is read in a list
CONTENT_CHARACTERS = 2_000
LEAST_CONFIDENCE = 0.6  # below: a hint without its topic; a reviewer would refuse most of them
FEWEST_WORDS = 4  # fewer say nothing by themselves, unless labelled

_OF_STRENGTH = {Strength.HINT: 0.58, Strength.CLEAR: 0.72, Strength.EXPLICIT: 0.88}
_NAMES_ITS_TOPIC = 0.07
_SECOND_CUE = 0.05
_SOLVES = 0.06
_SAID_AGAIN = 0.08
_TOPIC_RETURNS = 0.05
_HEDGED = -0.1
_SHORT = -0.1
_SHORT_WORDS = 7
_RAMBLING = -0.08
_RAMBLING_WORDS = 50  # speech without full stops: the cue is a small part of what is said

_ANSWERING: frozenset[AtomType] = frozenset(("solution", "insight", "decision", "requirement", "pattern"))
# words at a sentence's start that refer to what was said before, by the link that they make
_OPENINGS: Mapping[LinkType, tuple[str, ...]] = {
    "contradicts": ("but", "however", "although", "nevertheless", "on the contrary", "on the other hand", "i disagree",
                    "that's not", "not true", "actually no", "no but"),
    "supports": ("because", "for example", "for instance", "indeed", "exactly", "agreed", "i agree", "that's right",
                 "in fact", "this is because", "the reason is"),
    "continues": ("also", "and", "so", "then", "in addition", "additionally", "furthermore", "moreover", "besides",
                  "another", "next", "finally", "therefore", "secondly"),
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """A sentence with its role, what follows it without a role of its own, and its topic."""

    sentence: Sentence
    role: Role
    topic: ExtractedTopic
    title: str
    content: str
    names_topic: bool
    message_ids: tuple[int, ...]
    links: tuple[tuple[str, LinkType], ...] = ()


def atoms_of(sentences: Sequence[Sentence], topics: Sequence[ExtractedTopic]) -> list[ExtractedAtom]:
    """The atoms in the order of the text, at most `MAX_ATOMS`; none without a topic."""
    if not topics:
        return []
    linked = _linked(_once_each(_pieces(sentences, topics)))
    sure = [piece for piece in linked if _confidence(piece) >= LEAST_CONFIDENCE]
    surest = sorted(sure, key=lambda piece: -_confidence(piece))[:MAX_ATOMS]
    titles = {piece.title for piece in surest}
    return [_atom(piece, titles) for piece in sure if piece.title in titles]


def _pieces(sentences: Sequence[Sentence], topics: Sequence[ExtractedTopic]) -> list[Piece]:
    """The sentences that have a role and enough words."""
    roles = [_telling_role(sentence) for sentence in sentences]
    for number in range(1, len(sentences)):
        if roles[number] is None and _answers(sentences, roles, number):
            roles[number] = Role("insight", Strength.HINT, "the answer to the question before")
    pieces: list[Piece] = []
    for number, (sentence, role) in enumerate(zip(sentences, roles, strict=True)):
        if role is not None:
            spoken_of = pieces[-1].topic if pieces else topics[0]
            topic, named = _topic_of(sentence, topics, spoken_of)
            pieces.append(_piece(sentence, role, topic, named, _explained(sentences, roles, number)))
    return pieces


def _telling_role(sentence: Sentence) -> Role | None:
    role = role_of(sentence)
    return role if role and (role.strength is Strength.EXPLICIT or len(sentence.words) >= FEWEST_WORDS) else None


def _answers(sentences: Sequence[Sentence], roles: Sequence[Role | None], number: int) -> bool:
    """True for another author's first sentence right after a clear question."""
    before, sentence = roles[number - 1], sentences[number]
    return (
        before is not None
        and before.type == "question"
        and before.strength >= Strength.CLEAR
        and sentence.opens_message
        and sentence.message.author_id != sentences[number - 1].message.author_id
        and len(sentence.words) >= _SHORT_WORDS
    )


def _explained(sentences: Sequence[Sentence], roles: Sequence[Role | None], number: int) -> str:
    """The sentence with the next one of its message, if that has no role of its own."""
    content = sentences[number].text
    following = number + 1
    if following < len(sentences) and roles[following] is None and not sentences[following].opens_message:
        content = f"{content} {sentences[following].text}"
    return shortened(content, CONTENT_CHARACTERS)


def _topic_of(
    sentence: Sentence, topics: Sequence[ExtractedTopic], spoken_of: ExtractedTopic
) -> tuple[ExtractedTopic, bool]:
    """The surest topic that the sentence names, else that of its message, else what was spoken of; and if it is named."""
    named = next((topic for topic in topics if _names(sentence, topic)), None)
    related = next((topic for topic in topics if sentence.message.id in topic.related_message_ids), None)
    return named or related or spoken_of, named is not None


def _piece(sentence: Sentence, role: Role, topic: ExtractedTopic, names_topic: bool, content: str) -> Piece:
    title = shortened(without_opening(without_label(sentence.text)), TITLE_CHARACTERS)
    return Piece(sentence, role, topic, title, content, names_topic, message_ids=(sentence.message.id,))


def _names(sentence: Sentence, topic: ExtractedTopic) -> bool:
    return f" {topic.name} " in sentence.spoken or f" {topic.name}s " in sentence.spoken


def _once_each(pieces: Sequence[Piece]) -> list[Piece]:
    """One piece for each title, with all messages that say it."""
    by_title: dict[str, Piece] = {}
    for piece in pieces:
        first = by_title.setdefault(piece.title, piece)
        ids = tuple(dict.fromkeys(first.message_ids + piece.message_ids))
        by_title[piece.title] = replace(first, message_ids=ids)
    return list(by_title.values())


def _linked(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, each linked to the earlier one that it answers, solves, contradicts, supports or continues."""
    linked: list[Piece] = []
    for number, piece in enumerate(pieces):
        link = _solved(pieces, number) or _related(pieces, number)
        linked.append(replace(piece, links=(link,)) if link else piece)
    return linked


def _solved(pieces: Sequence[Piece], number: int) -> tuple[str, LinkType] | None:
    """The nearest earlier problem of the topic that a solution solves, or the question of the message before."""
    piece = pieces[number]
    directly_before = True
    for earlier in reversed(pieces[:number]):
        if piece.role.type == "solution" and earlier.role.type == "problem" and earlier.topic == piece.topic:
            return earlier.title, "solves"
        if directly_before and earlier.sentence.message.id != piece.sentence.message.id:
            directly_before = False
            if _is_answer(piece, earlier):
                return earlier.title, "solves"
    return None


def _is_answer(piece: Piece, question: Piece) -> bool:
    """True for what another author says to a clear question next, about its topic or as the first thing."""
    return (
        question.role.type == "question"
        and question.role.strength >= Strength.CLEAR
        and piece.role.type in _ANSWERING
        and piece.sentence.message.author_id != question.sentence.message.author_id
        and (piece.topic == question.topic or piece.sentence.opens_message)
    )


def _related(pieces: Sequence[Piece], number: int) -> tuple[str, LinkType] | None:
    """The piece right before, if the sentence opens with a word that refers to it and is of its message or topic."""
    if number == 0:
        return None
    piece, before = pieces[number], pieces[number - 1]
    if piece.sentence.message.id != before.sentence.message.id and piece.topic != before.topic:
        return None
    for type, openings in _OPENINGS.items():
        if piece.sentence.spoken.startswith(tuple(f" {opening} " for opening in openings)):
            return before.title, type
    return None


def _confidence(piece: Piece) -> float:
    total = (
        _OF_STRENGTH[piece.role.strength]
        + _NAMES_ITS_TOPIC * piece.names_topic
        + _SECOND_CUE * (piece.role.cues > 1)
        + _SOLVES * any(type == "solves" for _, type in piece.links)
        + _TOPIC_RETURNS * (len(piece.topic.related_message_ids) > 1)
        + _SAID_AGAIN * (len(piece.message_ids) > 1)
        + _HEDGED * is_hedged(piece.sentence)
        + _RAMBLING * (len(piece.sentence.words) >= _RAMBLING_WORDS)
        + _SHORT * (len(piece.sentence.words) < _SHORT_WORDS and piece.role.strength is not Strength.EXPLICIT)
    )
    return round(min(total, MOST_CONFIDENCE), 2)


def _atom(piece: Piece, titles: set[str]) -> ExtractedAtom:
    links = [link for link in piece.links if link[0] in titles]
    return ExtractedAtom(
        type=piece.role.type,
        title=piece.title,
        content=piece.content,
        confidence=_confidence(piece),
        topic_name=piece.topic.name,
        related_message_ids=piece.message_ids,
        links_to_atom_titles=tuple(title for title, _ in links),
        link_types=tuple(type for _, type in links),
        reasoning=_reasoning(piece),
    )


def _reasoning(piece: Piece) -> str:
    place = "the sentence names" if piece.names_topic else "its message is about"
    again = f"; {len(piece.message_ids)} messages say it" if len(piece.message_ids) > 1 else ""
    article = "An" if piece.role.type == "insight" else "A"
    return f'{article} {piece.role.type} by its cue "{piece.role.cue}"; {place} "{piece.topic.name}"{again}.'
