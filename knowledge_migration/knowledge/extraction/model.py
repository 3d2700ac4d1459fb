"""What an extractor is given and what it must return (the shapes of direct mode, strategy §4.1).

The result is validated here, once, for every extractor: a nonsensical result is refused before anything is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

AtomType = Literal["problem", "solution", "decision", "question", "insight", "pattern", "requirement"]
LinkType = Literal["continues", "solves", "contradicts", "supports", "refines", "relates_to", "depends_on"]

Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _storable(text: str) -> str:
    """Refuses what PostgreSQL's text cannot hold."""
    if "\x00" in text:
        raise ValueError("a text holds a NUL character")
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("a text holds half of a surrogate pair")
    return text


_Text = Annotated[str, AfterValidator(_storable)]
TopicName = Annotated[_Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
AtomTitle = Annotated[_Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
AnyType = Annotated[_Text, StringConstraints(min_length=1, max_length=20)]
Text = Annotated[_Text, StringConstraints(strip_whitespace=True, max_length=20_000)]


class ExtractionError(Exception):
    """The extractor failed, took too long, or returned what cannot be used; nothing was written."""


@dataclass(frozen=True)
class Message:
    """One message as an extractor sees it."""

    id: int
    content: str
    sent_at: datetime
    author_id: int


class _Extracted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    confidence: Confidence
    related_message_ids: tuple[int, ...] = ()
    reasoning: Text = ""


class ExtractedTopic(_Extracted):
    """A subject that the messages are about; `confidence` is 0 to 1."""

    name: TopicName
    description: Text
    keywords: tuple[_Text, ...] = ()


class ExtractedAtom(_Extracted):
    """One piece of knowledge under a topic of the same extraction, linked to others of it by their titles."""

    type: AtomType
    title: AtomTitle
    content: Text
    topic_name: TopicName
    links_to_atom_titles: tuple[_Text, ...] = ()
    link_types: tuple[LinkType, ...] = ()

    @model_validator(mode="after")
    def _a_type_for_each_link(self) -> Self:
        if len(self.links_to_atom_titles) != len(self.link_types):
            raise ValueError("links_to_atom_titles and link_types have different lengths")
        return self


class Extraction(BaseModel):
    """Everything that one extraction found."""

    model_config = ConfigDict(frozen=True)

    topics: tuple[ExtractedTopic, ...] = ()
    atoms: tuple[ExtractedAtom, ...] = ()


class GivenAtom(ExtractedAtom):
    """One piece of knowledge that an application has extracted: its own types are kept, a link without a type is not written."""

    type: AnyType  # type: ignore[assignment]
    link_types: tuple[AnyType, ...] = ()  # type: ignore[assignment]

    @model_validator(mode="after")
    def _a_type_for_each_link(self) -> Self:
        return self


class GivenExtraction(Extraction):
    """Everything that an application has extracted by itself; its objects need only have these attributes."""

    atoms: tuple[GivenAtom, ...] = ()


class Extractor(Protocol):
    """Finds knowledge in messages. Deterministic or not; it reads the messages only and writes nothing."""

    @property
    def name(self) -> str:
        """What did it, as the extraction run records it ("local", "openai:gpt-…")."""
        ...

    async def extract(self, messages: Sequence[Message]) -> Extraction:
        """The knowledge in these messages; raises `ExtractionError` with a reason in plain words."""
        ...
