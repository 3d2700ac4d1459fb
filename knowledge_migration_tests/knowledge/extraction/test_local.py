"""The local extractor: what it finds in messages that a person can judge, and what holds for any message."""

import asyncio
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge_migration.knowledge.extraction.atoms import MAX_ATOMS
from knowledge_migration.knowledge.extraction.local import LocalExtractor, extract_locally
from knowledge_migration.knowledge.extraction.model import ExtractedAtom, Extraction, Extractor, Message
from knowledge_migration.knowledge.extraction.topics import MAX_TOPICS
from knowledge_migration_tests.knowledge.extraction.conversations import CONVERSATION, real_messages, said

DIRECT_MODE_THRESHOLD = 0.7
AUTO_APPROVAL_THRESHOLD = 0.95


def names(extraction: Extraction) -> list[str]:
    """The topics' names, surest first."""
    return [topic.name for topic in extraction.topics]


def only_atom(*contents: str) -> ExtractedAtom:
    """The one atom that the messages give."""
    (atom,) = extract_locally(said(*contents)).atoms
    return atom


def assert_valid(extraction: Extraction, messages: list[Message]) -> None:
    """The contract, validated anew, and what a reader of the extraction relies on."""
    assert Extraction.model_validate(extraction.model_dump()) == extraction
    ids = {message.id for message in messages}
    titles = [atom.title for atom in extraction.atoms]
    assert len(set(titles)) == len(titles)
    assert len(set(names(extraction))) == len(names(extraction)) <= MAX_TOPICS
    assert len(extraction.atoms) <= MAX_ATOMS
    for part in (*extraction.topics, *extraction.atoms):
        assert part.related_message_ids
        assert ids.issuperset(part.related_message_ids)
        assert part.reasoning
        assert round(part.confidence, 2) == part.confidence
    for atom in extraction.atoms:
        assert atom.topic_name in names(extraction)
        assert set(atom.links_to_atom_titles) <= set(titles) - {atom.title}


def test_it_is_an_extractor_that_calls_itself_local() -> None:
    extractor: Extractor = LocalExtractor()
    messages = said("We decided to use PostgreSQL for the payment service.")
    assert extractor.name == "local"
    assert asyncio.run(extractor.extract(messages)) == extract_locally(messages)


# --- topics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "topic"),
    [
        ('Add docs for "time"', "time"),
        ("Add JavaFX topic", "javafx"),
        ("b2sum: add Russian translation (#21506)", "b2sum"),
        ("android/*: add Russian translation (#9421)", "android"),
        ("kubectl-config: add page (#13223)", "kubectl-config"),
        ("feat(billing): send invoices as PDF", "billing"),
        ("Fix crash in connection pool", "connection pool"),
        ("added in2csv", "in2csv"),
    ],
)
def test_the_subject_of_a_commit_is_its_topic_and_crosses_the_threshold(subject: str, topic: str) -> None:
    best = extract_locally(said(subject)).topics[0]
    assert best.name == topic
    assert DIRECT_MODE_THRESHOLD <= best.confidence < AUTO_APPROVAL_THRESHOLD


def test_a_phrase_that_returns_in_several_messages_is_surer_than_one_said_once() -> None:
    once = extract_locally(said("The channel jamming attack blocks the route.", "Nothing to add.", "See you."))
    often = extract_locally(
        said(
            "A channel jamming attack blocks the route.",
            "Would fees stop channel jamming?",
            "Against channel jamming we tried reputation, and channel jamming became costly.",
        )
    )
    (topic,) = (topic for topic in often.topics if topic.name == "channel jamming")
    assert topic.related_message_ids == (1, 2, 3)
    assert topic.confidence >= DIRECT_MODE_THRESHOLD
    assert all(other.confidence < DIRECT_MODE_THRESHOLD for other in once.topics)


def test_a_name_that_several_messages_mark_crosses_the_threshold_of_auto_approval() -> None:
    topics = extract_locally(said("Fix PaymentGateway timeouts", "Add PaymentGateway retries", "`PaymentGateway` docs"))
    assert topics.topics[0].name == "paymentgateway"
    assert topics.topics[0].confidence >= AUTO_APPROVAL_THRESHOLD


@pytest.mark.parametrize(
    "written", ["Payment Gateway", "payment gateway", "PAYMENT\n  GATEWAY", "payment\u00a0gateway"]
)
def test_a_phrase_has_the_same_name_however_it_is_written(written: str) -> None:
    message = f"The {written} rejects cards. Restarting the {written} helps."
    assert "payment gateway" in names(extract_locally(said(message)))


def test_a_topic_says_why_and_where() -> None:
    topic = extract_locally(said("Hello!", "Update `cargo-fuzz` page")).topics[0]
    assert topic.name == "cargo-fuzz"
    assert topic.related_message_ids == (2,)
    assert topic.reasoning.startswith('The phrase "cargo-fuzz" occurs once, in 1 of 2 messages; a writer marked it')


@pytest.mark.parametrize(
    "content", ["", " \n\t ", "👍👍", "…", "\0\0", "https://example.com/a/b?c=d", "```\nx = 1\n```", "12345"]
)
def test_messages_that_say_nothing_give_nothing(content: str) -> None:
    assert extract_locally(said(content)) == Extraction()


def test_no_messages_give_nothing() -> None:
    assert extract_locally([]) == Extraction()


@pytest.mark.parametrize(
    ("content", "topic"),
    [
        ("Сервер баз даних не відповідає. Перезапустіть сервер баз даних, будь ласка.", "сервер"),
        ("قاعدة البيانات لا تعمل. أعد تشغيل قاعدة البيانات من فضلك.", "البيانات"),
        ("Die Datenbankmigration dauert lange. Die Datenbankmigration läuft nachts.", "datenbankmigration"),
    ],
)
def test_topics_are_found_in_other_languages_and_scripts(content: str, topic: str) -> None:
    assert any(topic in name for name in names(extract_locally(said(content))))


# --- atoms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "type"),
    [
        ("The nightly import crashes on empty files since Monday.", "problem"),
        ("The nightly import is fixed by skipping files of zero bytes.", "solution"),
        ("We decided to run the nightly import twice a day.", "decision"),
        ("How do we restart the nightly import by hand?", "question"),
        ("It turns out that the nightly import reads each file twice.", "insight"),
        ("Every time the disk is full the nightly import loses a file.", "pattern"),
        ("The nightly import must finish before six in the morning.", "requirement"),
    ],
)
def test_a_sentence_with_a_clear_cue_is_an_atom_above_the_threshold(sentence: str, type: str) -> None:
    atom = only_atom(sentence)
    assert atom.type == type
    assert atom.title == sentence
    assert atom.confidence >= DIRECT_MODE_THRESHOLD


@pytest.mark.parametrize(
    ("sentence", "type"),
    [
        ("Decision: the nightly import moves to Kafka", "decision"),
        ("Fix: restart the nightly import after an upgrade", "solution"),
        ("Problem: nightly import", "problem"),
        ("TODO: the nightly import wants a timeout", "requirement"),
        ("TIL: the nightly import keeps its own log", "insight"),
    ],
)
def test_a_label_tells_the_type_outright_and_is_not_part_of_the_title(sentence: str, type: str) -> None:
    content = "The nightly import is slow."
    (atom,) = (atom for atom in extract_locally(said(content, sentence)).atoms if atom.related_message_ids == (2,))
    assert atom.type == type
    assert atom.title.lower() == sentence.partition(": ")[2].lower()
    assert atom.confidence >= AUTO_APPROVAL_THRESHOLD


def test_a_hedged_sentence_is_less_sure() -> None:
    plain = only_atom("The nightly import crashes on empty files since Monday.")
    hedged = only_atom("I guess the nightly import maybe crashes on empty files since Monday.")
    assert hedged.confidence < DIRECT_MODE_THRESHOLD <= plain.confidence


@pytest.mark.parametrize(
    "talk", ["That must have been a nice day in the mountains.", "Well, let's see what happens next.", "Right?"]
)
def test_talk_is_no_atom(talk: str) -> None:
    assert extract_locally(said(talk)).atoms == ()


def test_a_solution_solves_the_problem_said_before() -> None:
    problem, solution = extract_locally(
        said("The nightly import crashes on empty files.", "Fix: the nightly import skips empty files.")
    ).atoms
    assert (problem.type, solution.type) == ("problem", "solution")
    assert solution.links_to_atom_titles == (problem.title,)
    assert solution.link_types == ("solves",)


def test_what_another_author_says_next_answers_the_question() -> None:
    question, answer = extract_locally(
        said("How do we restart the nightly import?", "Somebody with access goes to the console of the nightly import.")
    ).atoms
    assert (answer.links_to_atom_titles, answer.link_types) == ((question.title,), ("solves",))


def test_nobody_answers_his_own_question_by_going_on_to_talk() -> None:
    messages = said(
        "How do we restart the nightly import?",
        "Somebody with access goes to the console of the nightly import.",
        authors=(1, 1),
    )
    assert [atom.type for atom in extract_locally(messages).atoms] == ["question"]


def test_a_sentence_that_opens_with_however_contradicts_the_one_before() -> None:
    first, second = extract_locally(
        said("The nightly import must run at six. However, the nightly import fails before seven.")
    ).atoms
    assert (second.links_to_atom_titles, second.link_types) == ((first.title,), ("contradicts",))


def test_what_several_messages_say_is_one_atom_and_surer() -> None:
    sentence = "The nightly import crashes on empty files."
    once, twice = only_atom(sentence, "Hm."), only_atom(sentence, "Hm.", sentence)
    assert twice.related_message_ids == (1, 3)
    assert twice.confidence > once.confidence


def test_an_atom_is_under_the_topic_that_its_sentence_names() -> None:
    extraction = extract_locally(
        said(
            "Add `payment gateway` page. Add `search index` page.",
            "The search index is broken since the upgrade.",
            "The payment gateway crashes at night.",
        )
    )
    assert {atom.topic_name for atom in extraction.atoms if "index" in atom.title} == {"search index"}
    assert {atom.topic_name for atom in extraction.atoms if "gateway" in atom.title} == {"payment gateway"}


# --- any message ------------------------------------------------------------------------------------------------


def test_real_messages_give_valid_extractions_and_the_same_ones_again() -> None:
    messages = real_messages(300, every=14)
    found = 0
    for start in range(0, len(messages) - 3, 3):
        batch = messages[start : start + 3]
        extraction = extract_locally(batch)
        assert_valid(extraction, batch)
        assert extract_locally(batch[::-1]) == extraction
        found += bool(extraction.topics)
    assert found >= 90


def test_real_messages_spread_over_all_three_bands_of_confidence() -> None:
    messages = real_messages(600, every=7)
    extractions = [extract_locally(messages[start : start + 3]) for start in range(0, len(messages), 3)]
    for parts in ([e.topics for e in extractions], [e.atoms for e in extractions]):
        confidences = [part.confidence for some in parts for part in some]
        weak = sum(confidence < DIRECT_MODE_THRESHOLD for confidence in confidences)
        assert 0.2 < weak / len(confidences) < 0.7
        assert sum(confidence >= AUTO_APPROVAL_THRESHOLD for confidence in confidences) < 0.2 * len(confidences)


def test_all_at_once_and_the_longest_are_bounded() -> None:
    messages = real_messages(500)
    longest = max(real_messages(10_000), key=lambda message: len(message.content))
    assert_valid(extract_locally(messages), messages)
    assert_valid(extract_locally([longest]), [longest])


def test_another_process_extracts_the_same() -> None:
    program = (
        "from knowledge_migration.knowledge.extraction.local import extract_locally\n"
        "from knowledge_migration_tests.knowledge.extraction.conversations import CONVERSATION, said\n"
        "print(extract_locally(said(*CONVERSATION)).model_dump_json())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {extract_locally(said(*CONVERSATION)).model_dump_json() + "\n"}


def test_the_code_location_loads_without_the_libraries_of_extraction() -> None:
    program = (
        "import sys, knowledge_migration.definitions, knowledge_migration.knowledge.extraction.local\n"
        "print({'yake', 'pydantic_ai', 'openai'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("set()\n")


PIECES = st.sampled_from(
    ["The nightly import", "crashes", "must", "?", "!", ". ", "\n\n", "* ", "# ", "`", "**", "[", "](", "<b>", "{{", "```",
     "Fix:", "but", "However, ", "https://a.b/c", "\0", "\ud800", "Größe", "שלום עולם", "数据库。", "👩‍💻", "i̇", "a_b", "BIP324",
     '"quoted name"', "#tag", "x" * 300, " "]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=300), st.lists(PIECES, max_size=40).map(" ".join), st.lists(PIECES, max_size=40).map("".join)
)


@settings(max_examples=200)
@given(st.lists(TEXTS, max_size=4), st.integers(1, 3))
def test_any_text_gives_a_valid_extraction_and_the_same_one_again(contents: list[str], authors: int) -> None:
    messages = said(*contents, authors=tuple(number % authors for number in range(len(contents))))
    extraction = extract_locally(messages)
    assert_valid(extraction, messages)
    assert extract_locally(messages) == extraction
    extraction.model_dump_json().encode()
