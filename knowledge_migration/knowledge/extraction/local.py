"""The extractor that needs no model and no network: key phrases become topics, sentences with a role become atoms.

The same messages always give the same extraction. It finds topics and questions in many languages, other roles in English only;
scripts without spaces give a topic only where a writer marked one.
"""

import asyncio
from collections.abc import Sequence

from knowledge_migration.knowledge.extraction.atoms import atoms_of
from knowledge_migration.knowledge.extraction.model import Extraction, Message
from knowledge_migration.knowledge.extraction.text import sentences_of
from knowledge_migration.knowledge.extraction.topics import topics_of


def extract_locally(messages: Sequence[Message]) -> Extraction:
    """The topics and atoms of the messages, which are read in the order of their ids; empty if they hold no words."""
    ordered = sorted(messages, key=lambda message: message.id)
    sentences = [sentence for message in ordered for sentence in sentences_of(message)]
    topics = topics_of(ordered, sentences)
    return Extraction(topics=tuple(topics), atoms=tuple(atoms_of(sentences, topics)))


class LocalExtractor:
    """`extract_locally` as an `Extractor`, in a thread. Its constructor loads yake (0.5 s), so that no user waits for it."""

    name = "local"

    def __init__(self) -> None:
        extract_locally([])

    async def extract(self, messages: Sequence[Message]) -> Extraction:
        """See `extract_locally`."""
        return await asyncio.to_thread(extract_locally, tuple(messages))
