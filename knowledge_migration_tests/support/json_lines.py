"""A knowledge base in a folder of `<table>.jsonl.gz` files, one JSON object a row, read as a stream."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowledge_migration.demo.python_documentation import Row


@dataclass(frozen=True)
class JsonLinesFolder:
    """The folder; a table without a file has no rows."""

    folder: Path

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of one table as its file has them."""
        path = self.folder / f"{table}.jsonl.gz"
        if not path.exists():
            return
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
