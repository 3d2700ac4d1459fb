"""The table of cues, and a message as sentences and words without markup, addresses and what PostgreSQL cannot store."""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowledge_migration.knowledge.extraction.model import Message

TABLES: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("cues.toml").read_text(encoding="utf-8"))
MESSAGE_CHARACTERS = 20_000  # the longest of 42,000 real messages has 17,000

_CODE_BLOCK = re.compile(r"^[ \t]*(?:```|~~~).*?(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_ADDRESS = r"<?(?:https?|ftp|mailto)://?[^\s<>)\]]+>?|\bwww\.[^\s<>)\]]+|[\w.+-]{1,64}@[\w-]+\.[\w.-]+"
_MARKUP = re.compile(_ADDRESS + r"|\{\{[^{}\n]{0,100}\}\}|\{%[^\n]{0,200}?%\}|</?[A-Za-z][^<>]{0,200}>")
_LINK = re.compile(r"!?\[([^\[\]\n]{1,200})\](?:\([^()\n]{0,300}\)|\[[^\[\]\n]{0,200}\])?")
_EMPHASIS = re.compile(r"\*\*|__|~~|`+|(?<![\w*])[*_](?=\w)|(?<=[\w.!?])[*_](?![\w*])")
_BLOCK_START = re.compile(r"\n[ \t]*(?:(?:[-*+•>|]|\d{1,2}[.)]|#{1,6})[ \t]+)+|\n[ \t]*\n")
_NOT_AN_ABBREVIATION = r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b(?:vs|Mr|Ms|Dr|No)\.)(?<!\b[A-Z]\.)"
_WESTERN_END = rf"(?:(?<=[.!?…]){_NOT_AN_ABBREVIATION}|(?<=[.!?…][\"'”’»)\]]))\s+(?=[^a-z\s])"
_SENTENCE_END = re.compile(_WESTERN_END + r"|(?<=[。！？])(?![」』”）。！？])|(?<=[؟۔।])\s+")
_SEPARATORS = str.maketrans(dict.fromkeys(',;:!?()[]{}"“”„«»<>|=—–…。、！？，：；「」『』（）؟،؛۔।*`~', " "))


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence of a message. `spoken` holds its words between spaces."""

    message: Message
    text: str
    words: tuple[str, ...]
    spoken: str
    opens_message: bool


def storable(content: str) -> str:
    """The text without NUL and lone surrogates, in the composed form of Unicode, at most `MESSAGE_CHARACTERS` long."""
    text = content[:MESSAGE_CHARACTERS].replace("\0", "").encode("utf-8", "ignore").decode("utf-8")
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n")


def words_of(text: str) -> tuple[str, ...]:
    """The lower-case words without the possessive; a word keeps inner signs ("c++", "readme.md", "don't")."""
    parts = text.lower().replace("’", "'").translate(_SEPARATORS).split()
    words = (part.strip("'‘.-_/\\&@^$%•·").removesuffix("'s") for part in parts)
    return tuple(word for word in words if any(map(str.isalnum, word)))


def sentences_of(message: Message) -> Iterator[Sentence]:
    """The message's sentences in order; none for a message without words."""
    text = _MARKUP.sub(" ", _CODE_BLOCK.sub("\n\n", storable(message.content)))
    blocks = _BLOCK_START.split("\n" + _EMPHASIS.sub("", _LINK.sub(r"\1", text)))
    opens_message = True
    for part in (part for block in blocks for part in _SENTENCE_END.split(" ".join(block.split()))):
        if words := words_of(part):
            yield Sentence(message, part, words, f" {' '.join(words)} ", opens_message)
            opens_message = False


def shortened(text: str, characters: int) -> str:
    """The text, cut at a word's end with an ellipsis if it is longer."""
    cut = text[: characters - 1]
    return text if len(text) <= characters else f"{cut.rpartition(' ')[0] or cut}…"
