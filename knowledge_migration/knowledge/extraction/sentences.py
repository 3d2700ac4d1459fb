"""A message's text as sentences: without markup, addresses and what PostgreSQL cannot hold, each with its words.

A message is read up to `MESSAGE_CHARACTERS`; what follows is left out. Nothing here depends on the language, but for a
few English abbreviations that do not end a sentence. Scripts that write no spaces are split at their full stops only.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from knowledge_migration.knowledge.extraction.model import Message

MESSAGE_CHARACTERS = 20_000  # the longest of 42,000 real messages has 17,000; beyond it a paste is no prose

_CODE_BLOCK = re.compile(r"^[ \t]*(?:```|~~~).*?(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(
    r"<?(?:https?|ftp|mailto)://?[^\s<>)\]]+>?|\bwww\.[^\s<>)\]]+|[\w.+-]{1,64}@[\w-]+\.[\w.-]+", re.I
)
_LINK = re.compile(r"!?\[([^\[\]\n]{1,200})\](?:\([^()\n]{0,300}\)|\[[^\[\]\n]{0,200}\])?")
_TEMPLATE = re.compile(r"\{\{[^{}\n]{0,100}\}\}|\{%[^\n]{0,200}?%\}")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_EMPHASIS = re.compile(r"\*\*|__|~~|`+|(?<![\w*])[*_](?=\w)|(?<=[\w.!?])[*_](?![\w*])")
_BLOCK_START = re.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,2}[.)]|#{1,6}|>|\|)[ \t])|\n[ \t]*\n")
_BLOCK_MARK = re.compile(r"^[ \t]*(?:(?:[-*+•>|]|\d{1,2}[.)]|#{1,6})[ \t]+)*")
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*(?=\s+[^a-z\s])|[。！？]+[」』”）]*|[؟۔।]+(?=\s)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|mr|mrs|ms|dr|prof|no|fig|approx|resp)|(?:^|[\s.(])[A-Z])\.$", re.I
)

_SEPARATORS = str.maketrans(dict.fromkeys(',;:!?()[]{}"“”„«»<>|=—–…。、！？，：；「」『』（）؟،؛۔।*`~', " "))
_EDGES = "'’‘.-_/\\&@^$%•·"


@dataclass(frozen=True)
class Sentence:
    """A sentence of a message. `words` are lower-case; `spoken` is them in one string, with a space at each end."""

    message: Message
    text: str
    words: tuple[str, ...]
    spoken: str
    opens_message: bool


def without_unstorable(content: str) -> str:
    """The text without NUL and lone surrogates, in the composed form of Unicode."""
    text = content[:MESSAGE_CHARACTERS].replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n")


def words_of(text: str) -> tuple[str, ...]:
    """The lower-case words; a word keeps inner signs ("c++", "readme.md", "don't") and has a letter or a digit."""
    edged = (part.strip(_EDGES) for part in text.lower().replace("’", "'").translate(_SEPARATORS).split())
    return tuple(word for word in edged if any(character.isalnum() for character in word))


def spoken(words: Sequence[str]) -> str:
    """The words between spaces, without the possessive, so that a phrase in it is found by `in`."""
    return f" {' '.join(word.removesuffix(chr(39) + 's') for word in words)} "


def prose(content: str) -> str:
    """The text without code blocks, addresses and markup; its line breaks remain."""
    text = _TEMPLATE.sub(" ", _ADDRESS.sub(" ", _CODE_BLOCK.sub("\n\n", content)))
    return _EMPHASIS.sub("", _TAG.sub(" ", _LINK.sub(r"\1", text)))


def sentences_of(message: Message) -> list[Sentence]:
    """The message's sentences in order; none for a message without words."""
    found: list[Sentence] = []
    for block in _BLOCK_START.split(prose(without_unstorable(message.content))):
        for text in _split(" ".join(_BLOCK_MARK.sub("", block).split())):
            words = words_of(text)
            if words:
                found.append(Sentence(message, text, words, spoken(words), opens_message=not found))
    return found


def _split(block: str) -> Iterator[str]:
    """The sentences of one paragraph, list item or heading."""
    start = 0
    for end in _SENTENCE_END.finditer(block):
        if not _ABBREVIATION.search(block, max(start, end.end() - 12), end.end()):
            yield block[start : end.end()].strip()
            start = end.end()
    if rest := block[start:].strip():
        yield rest
