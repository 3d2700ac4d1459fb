"""Atoms from sentences with a role, each under the topic that fits it best, and the links between them.

A label, a question mark or a cue tells the role. A clear cue gives 0.72, above the threshold of direct mode (0.7); a label
or "must" reaches 0.95 if the sentence names its topic; a hint needs more.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile

from knowledge_migration.knowledge.extraction.model import AtomType, ExtractedAtom, ExtractedTopic, LinkType
from knowledge_migration.knowledge.extraction.text import TABLES, Sentence, shortened
from knowledge_migration.knowledge.extraction.topics import MOST_CONFIDENCE

MAX_ATOMS = 10  # a reviewer reads them all; the most confident are kept
LEAST_CONFIDENCE = 0.6
HINT, CLEAR, EXPLICIT = 0.58, 0.72, 0.88  # the confidence of an atom by its cue alone


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
OPENERS, INTERROGATIVES = (frozenset(TABLES["words"][name].split()) for name in ("openers", "interrogatives"))
_LABEL = re.compile(rf"^\W{{0,3}}({'|'.join(LABELS)}) ?(?:\([^()]{{0,30}}\))?\s?[:：]\s+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Piece:
    """A sentence with its role and its topic."""

    sentence: Sentence
    role: Role
    topic: ExtractedTopic
    names_topic: bool
    title: str
    content: str
    message_ids: tuple[int, ...]

    @property
    def confidence(self) -> float:
        """The confidence that the sentence is worth an atom, 0 to 1."""
        length = len(self.sentence.words)
        total = self.role.strength + 0.07 * self.names_topic + 0.05 * (len(CUE.findall(self.sentence.spoken)) > 2)
        total += 0.08 * (len(self.message_ids) > 1) + 0.05 * (len(self.topic.related_message_ids) > 1)
        total -= 0.1 * any(hedge in self.sentence.spoken for hedge in HEDGES)
        total -= 0.1 * (length < 7 and self.role.strength < EXPLICIT) + 0.08 * (length >= 50)
        return round(min(total, MOST_CONFIDENCE), 2)


def atoms_of(sentences: Sequence[Sentence], topics: Sequence[ExtractedTopic]) -> list[ExtractedAtom]:
    """The atoms in the order of the text, at most `MAX_ATOMS`; none without a topic."""
    pieces: dict[str, Piece] = {}
    for piece in _pieces(sentences, topics) if topics else ():
        known = pieces.setdefault(piece.title, piece)
        pieces[piece.title] = replace(known, message_ids=tuple(dict.fromkeys(known.message_ids + piece.message_ids)))
    best = sorted(pieces.values(), key=lambda piece: -piece.confidence)[:MAX_ATOMS]
    kept = [piece for piece in pieces.values() if piece in best and piece.confidence >= LEAST_CONFIDENCE]
    return [_atom(piece, kept[:number]) for number, piece in enumerate(kept)]


def _pieces(sentences: Sequence[Sentence], topics: Sequence[ExtractedTopic]) -> Iterator[Piece]:
    """The sentences with a role; the content includes the next sentence of the message if that has none."""
    roles = [_role(sentence) for sentence in sentences]
    topic = topics[0]
    for number, sentence in enumerate(sentences):
        role = roles[number]
        can_answer = role is None and number > 0 and sentence.opens_message and len(sentence.words) >= 7
        if can_answer and _is_answer(sentence, sentences[number - 1], roles[number - 1]):
            role = Role("insight", HINT, "the answer to the question before")
        if role is not None:
            named = [each for each in topics if re.search(f" {re.escape(each.name)}s? ", sentence.spoken)]
            related = [each for each in topics if sentence.message.id in each.related_message_ids]
            topic = (*named, *related, topic)[0]
            title = shortened(_LABEL.sub("", sentence.text), 120)
            follower = sentences[number + 1] if roles[number + 1 : number + 2] == [None] else None
            content = f"{sentence.text} {follower.text}" if follower and not follower.opens_message else sentence.text
            title = title[:1].upper() + title[1:]
            yield Piece(sentence, role, topic, bool(named), title, shortened(content, 2_000), (sentence.message.id,))


def _role(sentence: Sentence) -> Role | None:
    """The role that the sentence's label, question mark or cues tell; None if nothing does or it is too short."""
    if label := _LABEL.match(sentence.text):
        return Role(LABELS[label[1].lower()], EXPLICIT, f"{label[1].lower()}:")
    words = list(dropwhile(lambda word: word in OPENERS, sentence.words))
    if sentence.text.rstrip("\"'”’»)] ").endswith(("?", "？", "؟")):
        asks = bool(words) and words[0] in INTERROGATIVES and len(sentence.words) > 4
        is_clear = asks or not any(map(str.isascii, words))
        role: Role | None = Role("question", CLEAR if is_clear else HINT, "?")
    else:
        cued = (ROLES[match[0]] for match in CUE.finditer(" ".join(("^", *words))))
        role = max(filter(None, cued), key=lambda role: role.strength, default=None)
    return role if role and (len(sentence.words) >= 4 or role.strength == EXPLICIT) else None


def _is_answer(sentence: Sentence, question: Sentence, role: Role | None) -> bool:
    """True if another author says the sentence after a clear question."""
    asked = role is not None and role.type == "question" and role.strength >= CLEAR
    return asked and sentence.message.author_id != question.message.author_id


def _link(piece: Piece, earlier: Sequence[Piece]) -> tuple[str, LinkType] | tuple[()]:
    """The link to the problem that a solution solves, the question that it answers, or the sentence that it refers to."""
    problems = [each for each in earlier if each.role.type == "problem" and each.topic == piece.topic]
    if piece.role.type == "solution" and problems:
        return problems[-1].title, "solves"
    message = piece.sentence.message
    before = next((each for each in reversed(earlier) if each.sentence.message.id != message.id), None)
    is_near = before and (piece.topic == before.topic or piece.sentence.opens_message)
    tells = piece.role.type not in ("question", "problem")
    if before and is_near and tells and _is_answer(piece.sentence, before.sentence, before.role):
        return before.title, "solves"
    links = [link for opening, link in OPENINGS.items() if piece.sentence.spoken.startswith(f" {opening} ")]
    is_near = any(each.topic == piece.topic or each.sentence.message.id == message.id for each in earlier[-1:])
    return (earlier[-1].title, links[0]) if links and is_near else ()


def _atom(piece: Piece, earlier: Sequence[Piece]) -> ExtractedAtom:
    link = _link(piece, earlier)
    place = "the sentence names" if piece.names_topic else "its message is about"
    return ExtractedAtom(
        type=piece.role.type,
        title=piece.title,
        content=piece.content,
        confidence=piece.confidence,
        topic_name=piece.topic.name,
        related_message_ids=piece.message_ids,
        links_to_atom_titles=link[:1],
        link_types=link[1:],
        reasoning=f'The cue "{piece.role.cue}" tells its role; {place} "{piece.topic.name}".',
    )
