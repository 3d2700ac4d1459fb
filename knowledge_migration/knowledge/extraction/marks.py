"""Phrases that a writer marked as a subject: a commit's scope and object, quotes, code spans, headings, hashtags, names."""

import re
from collections.abc import Iterator

from knowledge_migration.knowledge.extraction.sentences import words_of
from knowledge_migration.knowledge.extraction.vocabulary import COMMIT_VERBS, GENERIC_WORDS

MARKED_WORDS = 4  # a longer quote or heading is a statement, not a subject
_SUBJECT_LINE = 100  # characters; git's own advice is 50 to 72, a longer first line is prose

_CONVENTIONAL = re.compile(
    r"^(?:feat|fix|docs?|chore|refactor|style|tests?|ci|build|perf|revert)(?:\(([^()]{1,40})\))?!?:\s*", re.I
)
_SCOPE = re.compile(r"^([^\s:.!?][^:!?\"]{0,70}):\s+(?=(\S+))")
_TECHNICAL = re.compile(r"[\d_./*-]")
_LETTER = re.compile(r"[^\W\d_]")
_PULL_REQUEST = re.compile(r"\s*\(?#\d+\)?\s*$")
_MERGE = re.compile(r"^merge\b", re.I)
_BREAK = re.compile(
    r"\b(?:for|to|from|in|into|with|by|on|at|and|or|of|because|when|if|so|that|which|via|using|as|is|are|was)\b|[,;:.!?()]\s|[()\"]",
    re.I,
)
_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»\n]{2,50})[\"”“»]")
_CODE_SPAN = re.compile(r"(?<!`)`([^`\n]{2,50})`(?!`)")
_HEADING = re.compile(r"^#{1,6}[ \t]+([^\n]{2,60})$|^\*\*([^*\n]{2,50}?):?\*\*", re.M)
_HASHTAG = re.compile(r"(?<![\w#&/])#([^\W\d_][\w-]{2,40})")
_IDENTIFIER = re.compile(
    r"(?<![\w/.@#-])(?:[^\W\d_]{2,}-?\d{1,6}[^\W\d_]*|[^\W\d_]\d+[^\W\d_]{2,}\w*|[A-Z]?[a-z]+(?:[A-Z][a-z0-9]+)+|[a-z]+(?:_[a-z0-9]+)+|[a-z]{1,4}[A-Z]{2,}\w*)(?![\w/@]|\.\w)"
)


def subjects(content: str) -> Iterator[str]:
    """The scope or the object of a commit, if the message opens with the subject line of one."""
    line, _, rest = content.strip().partition("\n")
    if len(line) <= _SUBJECT_LINE and (not rest or rest.startswith("\n")):
        yield from _of_subject_line(_PULL_REQUEST.sub("", line))


def marked_phrases(content: str) -> Iterator[str]:
    """Phrases that the writer set apart, as written; the text is one message's, with its markup."""
    for pattern in (_HEADING, _QUOTED, _CODE_SPAN, _HASHTAG):
        for match in pattern.finditer(content):
            phrase = next(group for group in match.groups() if group is not None)
            if len(phrase.split()) <= MARKED_WORDS and not phrase.rstrip().endswith((".", "!", "?", ",")):
                yield phrase


def identifiers(text: str) -> Iterator[str]:
    """Names by their shape, which key phrase extraction passes over: BIP329, js13kGames, lock_timeout."""
    for match in _IDENTIFIER.finditer(text):
        yield match.group()


def _of_subject_line(line: str) -> Iterator[str]:
    """The scope and the object of a commit's first line; nothing for a line that is not one."""
    if _MERGE.match(line):
        return
    conventional = _CONVENTIONAL.match(line)
    if conventional:
        line = line[conventional.end() :]
        if conventional[1]:
            yield conventional[1]
    elif (scope := _SCOPE.match(line)) and (scope[2].lower() in COMMIT_VERBS or _TECHNICAL.search(scope[1])):
        parts = [part.strip().removesuffix("/*") for part in scope[1].split(",")]
        yield from (part for part in parts if "*" not in part and len(part.split()) <= MARKED_WORDS)
        if _LETTER.search(scope[1]):
            return  # the scope is the subject; what is done to it is not
        line = line[scope.end() :]
    verb, _, described = line.partition(" ")
    if verb.lower().strip(":") in COMMIT_VERBS:
        yield from _object(described)


def _object(described: str) -> Iterator[str]:
    """The first part of what a change is described by that names something."""
    for part in _BREAK.split(described.partition("(")[0]):
        words = part.split()
        while words and _is_generic(words[0]):
            words.pop(0)
        while words and _is_generic(words[-1]):
            words.pop()
        if words:
            if len(words) <= MARKED_WORDS:
                yield " ".join(words)
            return


def _is_generic(word: str) -> bool:
    """True for a word that could be said of any subject."""
    plain = words_of(word)
    return not plain or all(part in GENERIC_WORDS or part.isdigit() for part in plain)
