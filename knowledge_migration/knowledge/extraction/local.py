"""The extractor that needs no model and no network: key phrases become topics, sentences with a role become atoms.

The same messages always give the same extraction, and the same phrase of other messages the same topic name. It reads
English best: topics and questions are found in other languages, too, the other roles are not, and scripts without
spaces or with vowel signs (Chinese, Hindi) give a topic only where a writer marked one. The first extraction of a process
takes half a second more, to load yake.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from knowledge_migration.knowledge.extraction.atoms import atoms_of
from knowledge_migration.knowledge.extraction.model import Extraction, Message
from knowledge_migration.knowledge.extraction.phrases import key_phrases
from knowledge_migration.knowledge.extraction.sentences import sentences_of
from knowledge_migration.knowledge.extraction.topics import topics_of


def extract_locally(messages: Sequence[Message]) -> Extraction:
    """The topics and atoms of the messages, which are read in the order of their times; empty if they hold no words."""
    ordered = sorted(messages, key=lambda message: message.id)
    sentences = [sentence for message in ordered for sentence in sentences_of(message)]
    topics = topics_of(key_phrases(ordered, sentences), sentences)
    return Extraction(topics=tuple(topics), atoms=tuple(atoms_of(sentences, topics)))


class LocalExtractor:
    """`extract_locally` as an `Extractor`; the work is done in a thread, so that the event loop stays free.

    Making one loads the word lists (half a second), so that the first user does not wait for them.
    """

    def __init__(self) -> None:
        extract_locally([Message(0, "The first phrase loads the word lists.", datetime(2026, 1, 1), 0)])

    @property
    def name(self) -> str:
        """What the extraction run records."""
        return "local"

    async def extract(self, messages: Sequence[Message]) -> Extraction:
        """See `extract_locally`."""
        return await asyncio.to_thread(extract_locally, tuple(messages))
