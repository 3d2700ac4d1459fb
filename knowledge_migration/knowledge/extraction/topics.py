"""Topics from key phrases: those that yake ranks and those that a writer marked (commit subjects, headings, quotes, code).

A topic's name is the phrase in lower case with single spaces. A marked phrase and a name of several words reach 0.7, the
threshold of direct mode; only a phrase that several messages repeat reaches 0.95.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

from knowledge_migration.knowledge.extraction.model import ExtractedTopic, Message
from knowledge_migration.knowledge.extraction.text import TABLES, Sentence, shortened, storable, words_of

MAX_TOPICS = 5
CHARACTERS_PER_TOPIC = 300  # a message has one topic and one more for each paragraph's worth of text
LEAST_CONFIDENCE, MOST_CONFIDENCE, MOST_FOR_ONE_MENTION = 0.5, 0.99, 0.9
PHRASE_CHARACTERS, PHRASE_CHARACTERS_IN_ALL = 400, 6_000  # yake: 11 ms for 1,500 characters (p95), 6 ms for 800

_WORDS = {name: frozenset(words.split()) for name, words in TABLES["words"].items()}
_GENERIC = _WORDS["generic"]
_SCOPE = re.compile(rf"(?:(?:{'|'.join(_WORDS['commit_types'])})(?:\(([^()]+)\))?!?|([^\s:][^:?\"]*)): +(\S+)", re.I)
_BREAK = re.compile(rf"\b(?:{'|'.join(_WORDS['breaks'])})\b|[,;:.!?()]\s|[()\"#]")
_GENERIC_WORD = rf"(?:{'|'.join(map(re.escape, sorted(_GENERIC)))})"
_GENERIC_ENDS = re.compile(rf"^(?:\s*{_GENERIC_WORD}(?=\s|$))+|(?:(?:^|\s){_GENERIC_WORD})+\s*$", re.I)
_MARKED = re.compile("|".join(TABLES["marks"].values()), re.MULTILINE)


def topics_of(messages: Sequence[Message], sentences: Sequence[Sentence]) -> list[ExtractedTopic]:
    """The topics, most confident first; two never share a word."""
    candidates = sorted(_candidates(messages, sentences), key=lambda topic: -topic.confidence)
    characters = sum(len(sentence.text) for sentence in sentences)
    most = min(MAX_TOPICS, len(messages) + characters // CHARACTERS_PER_TOPIC)
    chosen: list[ExtractedTopic] = []
    taken: set[int | str] = set()
    for adds_message in (True, False):  # each message gets a topic first
        for topic in (each for each in candidates if each.confidence >= LEAST_CONFIDENCE):
            words = {word.removesuffix("s") for word in topic.name.split()}
            if words.isdisjoint(taken) and not (adds_message and taken.issuperset(topic.related_message_ids)):
                chosen.append(topic)
                taken |= {*words, *topic.related_message_ids}
    return sorted(chosen[:most], key=candidates.index)


def _candidates(messages: Sequence[Message], sentences: Sequence[Sentence]) -> Iterator[ExtractedTopic]:
    """A topic for each key phrase, in the order of yake's rank."""
    starts = (storable(message.content[:PHRASE_CHARACTERS]) for message in messages)
    marked = {name for start in starts for name in _marked_names(start)}
    ranked = _ranked_names(sentences, len(messages))
    names = tuple(dict.fromkeys((*ranked, *sorted(marked))))
    for name in names:
        forms = (f" {name} ", f" {name}s ")
        mentioning = [sentence for sentence in sentences if any(form in sentence.spoken for form in forms)]
        mentions = sum(sentence.spoken.count(form) for sentence in mentioning for form in forms)
        named = any(form in sentence.text[1:] for sentence in mentioning for form in (name.title(), name.upper()))
        is_marked = name in marked
        is_fragment = name.count(" ") > 1 and not is_marked and not named  # "gateway rejects cards"
        if mentions > is_fragment:
            ids = tuple(dict.fromkeys(sentence.message.id for sentence in mentioning))
            confidence = 0.45 + 0.25 * is_marked + 0.12 * named + 0.14 * (" " in name) + 0.05 * (name in ranked[:1])
            confidence += 0.06 * min(mentions - 1, 3) + 0.12 * min(len(ids) - 1, 3)
            text = "".join(sentence.spoken for sentence in mentioning)
            near = (other for other in names if other != name and f" {other} " in text)
            times = "once" if mentions == 1 else f"{mentions} times"
            reasoning = f'The phrase "{name}" occurs {times}, in {len(ids)} of {len(messages)} messages'
            reasoning += "; a writer marked it (as a subject, a heading, a quote or code)" * is_marked
            yield ExtractedTopic(
                name=name,
                description=shortened(mentioning[0].text, 300),
                confidence=round(min(confidence, MOST_CONFIDENCE if mentions > 1 else MOST_FOR_ONE_MENTION), 2),
                keywords=tuple(islice(near, 5)),
                related_message_ids=ids,
                reasoning=reasoning + "; it is written as a name" * named + ".",
            )


def _marked_names(content: str) -> Iterator[str]:
    """The scope or the object of a commit's subject line, then what the table of marks finds."""
    line = content.strip().partition("\n")[0]
    scope = _SCOPE.match(line)
    verb, _, described = line[scope.start(3) if scope else 0 :].partition(" ")
    is_change = verb.lower().strip(":") in _WORDS["commit_verbs"]
    if scope and scope[2] and (is_change or re.search(r"[\d_./*-]", scope[2])):
        subjects = [part.removesuffix("/*") for part in re.split(r",\s*", scope[2])]
    else:
        objects = (_GENERIC_ENDS.sub("", part).strip() for part in _BREAK.split(described if is_change else ""))
        subjects = [(scope and scope[1]) or "", *islice(filter(None, objects), 1)]
    marks = [next(filter(None, groups)) for groups in _MARKED.findall(content)]
    yield from _names(subject for subject in (*subjects, *marks) if "*" not in subject)


def _names(phrases: Iterable[str]) -> Iterator[str]:
    """The names of the phrases, but not of a number, hash, path or generic word."""
    for phrase in phrases:
        words = words_of(phrase)
        fits = 0 < len(words) <= 4 and max(map(len, words)) <= 30 and phrase.count("/") < 2 and phrase[-1] not in ".!?,"
        ends = {words[0], words[-1]} if fits and not _GENERIC.issuperset(words) else {""}
        if all(len(word) > 1 and any(map(str.isalpha, word)) for word in ends):
            yield " ".join(words)


def _ranked_names(sentences: Sequence[Sentence], messages: int) -> list[str]:
    """The names of yake's phrases, best first, without parts of sentences ("defang your attacker", "potentially")."""
    text = " | ".join(sentence.text for sentence in sentences)  # a bar, so that no phrase spans two sentences
    phrases = _yake().extract_keywords(text[: min(PHRASE_CHARACTERS * messages, PHRASE_CHARACTERS_IN_ALL)])
    names = dict.fromkeys(_names(phrase for phrase, _ in phrases))
    return [name for name in names if _yake().stopword_set.isdisjoint(name.split()) and "ly " not in f"{name} "]


@lru_cache(maxsize=1)
def _yake() -> Any:
    """Its stopwords are those of every language and the words of talk; without `dedup_lim` it keeps no state between texts."""
    from yake import KeywordExtractor  # takes 0.4 s

    by_language = (KeywordExtractor(lan=language).stopword_set for language in _WORDS["languages"])
    return KeywordExtractor(
        n=3, dedup_lim=1.0, top=20, stopwords=_WORDS["filler"].union(_WORDS["commit_verbs"], *by_language)
    )
