"""Files that are complete or absent: changed and deleted rows are saved to one first.

A file gets its name when all of it is on the disk, never replaces another file, and only its owner may read it.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """A file that gets its name when all of it is on the disk; mode 0600. Raises `OSError` and leaves no file then."""
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
        sync_directory(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Flushes the names in it to the disk: without it, a power failure could lose the file after the rows are deleted."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
