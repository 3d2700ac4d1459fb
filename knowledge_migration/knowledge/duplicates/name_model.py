"""The embedding model of names: `model.onnx` and `tokenizer.json` of one directory, as sentence-transformers exports them.

Needs the extra `semantic`; downloads nothing. Anything that cannot be used is refused when the model is loaded.
"""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge_migration.settings import SettingsError

VARIABLE = "KNOWLEDGE_SEMANTIC_MODEL"
FILES = ("model.onnx", "tokenizer.json")
REQUIRED_INPUTS, KNOWN_INPUTS = {"input_ids", "attention_mask"}, {"input_ids", "attention_mask", "token_type_ids"}
MOST_TOKENS = 128

Vectors = NDArray[np.float32]


class NameModel:
    """Turns names into vectors of length 1; safe to share between threads. One name takes 1.4 ms of one core."""

    def __init__(self, directory: Path) -> None:
        """Loads the model; raises `SettingsError` naming the file or package that is wrong."""
        self._directory = directory
        for name in FILES:
            if not (directory / name).is_file():
                raise _refused(directory, f"it has no file {name}")
        try:
            from onnxruntime import InferenceSession, SessionOptions
            from tokenizers import Tokenizer
        except ImportError as error:
            install = "pip install 'knowledge_migration[semantic]', or unset the variable"
            raise SettingsError(f"{VARIABLE} is set, and {error.name} is not installed: {install}.") from error
        options = SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        try:
            self._tokenizer = Tokenizer.from_file(str(directory / FILES[1]))
            self._session = InferenceSession(directory / FILES[0], options, providers=["CPUExecutionProvider"])
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(MOST_TOKENS)
            self._inputs = {one.name for one in self._session.get_inputs()}
            self._refuse_other_inputs()
            self.dimensions = len(self.embed("trial"))
        except SettingsError:
            raise
        except Exception as error:  # both libraries raise plain exceptions for a broken file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise _refused(directory, f"it cannot be loaded and tried ({reason[:200]})") from error

    @cached_property
    def fingerprint(self) -> str:
        """The hash of both files: vectors of another model are never compared with these."""
        files = (hashlib.sha256((self._directory / name).read_bytes()).digest() for name in FILES)
        return hashlib.sha256(b"".join(files)).hexdigest()

    def embed(self, text: str) -> Vectors:
        """The vector of one text: the mean over its tokens, or what the model itself returns for the text.

        One text at a time, so that its vector does not depend on the others of a batch.
        """
        tokens = self._tokenizer.encode(text)
        mask = np.array([tokens.attention_mask], dtype=np.int64)
        ids = np.array([tokens.ids], dtype=np.int64)
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        output = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        vector = output[0] if output.ndim == 2 else (output * mask[..., None]).sum(axis=1)[0]
        length = np.linalg.norm(vector) if vector.ndim == 1 else np.nan
        if not np.isfinite(length) or length == 0:
            raise _refused(self._directory, f"its first output has the shape {output.shape} or is no number for a text")
        return np.asarray(vector / length, dtype=np.float32)

    def _refuse_other_inputs(self) -> None:
        if not REQUIRED_INPUTS <= self._inputs <= KNOWN_INPUTS:
            inputs = ", ".join(sorted(self._inputs))
            raise _refused(self._directory, f"its inputs are {inputs}, not input_ids and attention_mask")


def _refused(directory: Path, problem: str) -> SettingsError:
    return SettingsError(
        f"{VARIABLE} names {directory}, which is no model that can be used: {problem}. Name a directory with {FILES[0]} and "
        f"{FILES[1]} of one sentence-transformers model exported to ONNX, or unset the variable."
    )
