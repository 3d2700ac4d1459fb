"""Topics whose names mean the same: found after spelling, kept in a file, exact in spite of the bound, refused or absent."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from knowledge_migration.knowledge.duplicates import name_meaning
from knowledge_migration.knowledge.duplicates.finder import DuplicateFinder
from knowledge_migration.knowledge.duplicates.model import Candidate, DuplicateOptions, Similar
from knowledge_migration.knowledge.duplicates.name_model import NameModel, Vectors
from knowledge_migration.knowledge.entity_kinds import ATOM, TOPIC
from knowledge_migration.knowledge.integration import Knowledge
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.tables import EMBEDDING_DIMENSIONS, topics
from knowledge_migration.settings import SettingsError
from knowledge_migration_tests.knowledge.duplicates.rows import add_atom, add_topic
from knowledge_migration_tests.knowledge.duplicates.semantic import model_directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a real model."""
    return model_directory(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(directory: Path) -> NameModel:
    """The real model."""
    return NameModel(directory)


class Directions:
    """A model whose vectors are random but the same for one name; it counts the names that it embeds."""

    dimensions = 384
    fingerprint = "0" * 64

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed(self, text: str) -> Vectors:
        self.embedded.append(text)
        group, _, noise = text.partition("/")
        vector = self._random(group) + 0.25 * self._random(text) * bool(noise)
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def _random(self, seed: str) -> Vectors:
        return np.random.default_rng([*seed.encode()]).normal(size=384).astype(np.float32)


def ask(finder: DuplicateFinder, session: sa.Connection, *names: str) -> list[Similar | None]:
    """What it says to topics of these names."""
    return finder.similar(session, TOPIC, [Candidate(name, "") for name in names])


def test_a_name_of_the_same_meaning_is_found_with_its_score(session: sa.Connection, model: NameModel) -> None:
    add_topic(session, "Gardening")
    id = add_topic(session, "Delete a directory")
    [similar, nothing] = ask(DuplicateFinder(model=model), session, "Remove a folder", "Kubernetes")
    assert similar == Similar(id, pytest.approx(0.94, abs=0.04), "meaning")
    assert nothing is None
    assert ask(DuplicateFinder(), session, "Remove a folder") == [None]


def test_spelling_goes_before_meaning(session: sa.Connection, model: NameModel) -> None:
    add_topic(session, "Remove a directory")
    spelled = add_topic(session, "remove a folder")
    assert ask(DuplicateFinder(model=model), session, "Remove a Folder") == [Similar(spelled, 0.99, "spelling")]


def test_atoms_are_not_compared_by_their_titles(session: sa.Connection, model: NameModel) -> None:
    add_atom(session, "Delete a directory")
    assert DuplicateFinder(model=model).similar(session, ATOM, [Candidate("Remove a folder", "")]) == [None]


class AtomModel(Directions):
    """Vectors as long as those that the application stores."""

    dimensions = EMBEDDING_DIMENSIONS

    def embed(self, text: str) -> Vectors:
        return np.asarray([*super().embed(text.split("|")[0]), *[0.0] * (EMBEDDING_DIMENSIONS - 384)], dtype=np.float32)


@pytest.mark.parametrize("is_the_same", [True, False])
def test_atoms_are_compared_by_stored_embeddings_if_the_model_made_them(
    session: sa.Connection, is_the_same: bool
) -> None:
    model = AtomModel()
    title = "Delete|one" if is_the_same else "Another title"
    id = add_atom(session, title, embedding=[float(value) for value in model.embed("Delete")])
    found = DuplicateFinder(model=model).similar(session, ATOM, [Candidate("Delete|xyz 2", "")])
    assert found == ([Similar(id, pytest.approx(1.0), "meaning")] if is_the_same else [None])


def test_a_renamed_or_deleted_topic_is_scored_as_it_is_now(session: sa.Connection, model: NameModel) -> None:
    renamed, deleted = add_topic(session, "Delete a directory"), add_topic(session, "DELETE a directory")
    finder = DuplicateFinder(model=model)
    finder.refresh(session)
    session.execute(sa.update(topics).where(topics.c.id == renamed).values(name="Gardening"))
    session.execute(sa.delete(topics).where(topics.c.id == deleted))
    assert ask(finder, session, "Remove a folder") == [None]


def test_the_search_finds_what_comparing_with_each_vector_finds(session: sa.Connection) -> None:
    directions = Directions()
    names = [f"{chr(97 + group % 26)}{group}/{number}" for group in range(150) for number in range(8)]
    ids = {name: add_topic(session, name) for name in names}
    vectors = {name: directions.embed(name) for name in names}
    finder = DuplicateFinder(DuplicateOptions(topic_spelling_from=0.99), model=directions)
    for group in range(0, 150, 10):
        wanted = f"{chr(97 + group % 26)}{group}/new"
        scores = {ids[name]: (1 + float(vectors[name] @ directions.embed(wanted))) / 2 for name in names}
        [similar] = ask(finder, session, wanted)
        assert similar is not None
        assert similar.score == pytest.approx(max(scores.values()), abs=1e-3)
        assert scores[similar.entity_id] == pytest.approx(similar.score, abs=1e-3)
        assert similar.type == "meaning"


def test_the_bound_rules_out_nearly_all_names(session: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(600):
        add_topic(session, f"a{number}/x")
    scored: list[int] = []
    reaching = name_meaning.MeaningBlock.reaching

    def counted(block: name_meaning.MeaningBlock, wanted: Vectors, cosine_from: float) -> list[tuple[float, int, str]]:
        left = np.sqrt(max(0.0, 1 - float(wanted[:128] @ wanted[:128])))
        scored.append(int((block.leading @ wanted[:128] + block.rest * left >= cosine_from - 1e-3).sum()))
        return reaching(block, wanted, cosine_from)

    monkeypatch.setattr(name_meaning.MeaningBlock, "reaching", counted)
    ask(DuplicateFinder(model=Directions()), session, "a7/y")
    assert 1 <= sum(scored) < 300


def test_the_vectors_of_names_are_computed_once_for_each_model(session: sa.Connection, tmp_path: Path) -> None:
    for name in ("alpha", "beta", "gamma"):
        add_topic(session, name)
    first, later, other = Directions(), Directions(), Directions()
    other.fingerprint = "1" * 64
    DuplicateFinder(model=first, vectors=tmp_path).refresh(session)
    add_topic(session, "delta")
    for one in (later, other):
        DuplicateFinder(model=one, vectors=tmp_path).refresh(session)
    assert (sorted(first.embedded), later.embedded) == (["alpha", "beta", "gamma"], ["delta"])
    assert sorted(other.embedded) == ["alpha", "beta", "delta", "gamma"]
    assert b"alpha" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_a_new_name_is_the_only_one_that_is_embedded(session: sa.Connection) -> None:
    directions = Directions()
    add_topic(session, "alpha")
    finder = DuplicateFinder(model=directions)
    finder.refresh(session)
    add_topic(session, "beta")
    assert ask(finder, session, "gamma") == [None]
    assert directions.embedded == ["alpha", "beta", "gamma"]


def test_a_broken_file_of_vectors_is_named_and_computed_again(
    session: sa.Connection, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_topic(session, "alpha")
    file = tmp_path / f"{'0' * 32}.sqlite"
    file.write_bytes(b"no database at all" * 100)
    directions = Directions()
    with caplog.at_level(logging.WARNING):
        DuplicateFinder(model=directions, vectors=tmp_path).refresh(session)
    assert directions.embedded == ["alpha"]
    assert f"{file} cannot be read" in caplog.text


def test_without_topics_nothing_is_found(session: sa.Connection, model: NameModel) -> None:
    assert ask(DuplicateFinder(model=model), session, "Remove a folder", "") == [None, None]


def broken(directory: Path, target: Path, **contents: bytes) -> Path:
    """A copy of the model with these contents of `model.onnx` or `tokenizer.json`."""
    shutil.copytree(directory, target)
    for name, content in contents.items():
        path = next(target.glob(f"{name}.*"))
        path.unlink()
        path.write_bytes(content)
    return target


def test_a_model_that_cannot_be_used_is_refused_with_the_next_step(directory: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        tmp_path / "missing": "has no file model.onnx",
        empty: "has no file model.onnx",
        broken(directory, tmp_path / "no_model", model=b"no model"): "cannot be loaded and tried",
        broken(directory, tmp_path / "no_tokenizer", tokenizer=b"{}"): "cannot be loaded and tried",
        broken(directory, tmp_path / "other_inputs", model=one_operator("Identity")): "its inputs are x, not input_ids",
    }
    for path, problem in cases.items():
        with pytest.raises(SettingsError) as caught:
            DuplicateFinder.with_model(path, None)
        message = str(caught.value)
        assert message.startswith(f"KNOWLEDGE_SEMANTIC_MODEL names {path}, which is no model that can be used: ")
        assert problem in message
        assert message.endswith("or unset the variable.")


def one_operator(operator: str) -> bytes:
    """An ONNX model with one input x and one output y of float32: protobuf, written by hand."""

    def part(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def value(name: bytes) -> bytes:
        return part(1, name) + part(2, part(1, b"\x08\x01" + part(2, part(1, b"\x08\x01"))))

    node = part(1, b"x") + part(2, b"y") + part(4, operator.encode())
    graph = part(1, node) + part(2, b"g") + part(11, value(b"x")) + part(12, value(b"y"))
    return b"\x08\x08" + part(7, graph) + part(8, part(1, b"") + b"\x10\x0d")


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_without_the_extra_a_model_is_refused_and_the_search_by_spelling_works(
    session: sa.Connection, directory: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        SettingsError, match=rf"{package} is not installed: pip install 'knowledge_migration\[semantic\]'"
    ):
        DuplicateFinder.with_model(directory, None)
    id = add_topic(session, "Message Queue")
    finder = DuplicateFinder.with_model(None, None)
    assert ask(finder, session, "message queue", "Remove a folder") == [Similar(id, 0.99, "spelling"), None]


def test_a_service_does_not_start_with_a_model_that_cannot_be_used(tmp_path: Path) -> None:
    options = ServiceOptions(database_url="postgresql://nobody@127.0.0.1:1/none", semantic_model=tmp_path)
    with pytest.raises(SettingsError, match="has no file"):
        Knowledge(options)
