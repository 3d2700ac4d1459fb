"""A knowledge base in a folder of `<table>.jsonl.gz` files, one JSON object a row, read as a stream."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowledge_migration.demo.knowledge_base import TABLES, Row
from knowledge_migration.engine.foundation.errors import MigrationError


@dataclass(frozen=True)
class JsonLinesFolder:
    """The folder; a table without a file has no rows."""

    folder: Path

    def __post_init__(self) -> None:
        """Refuses a folder that holds none of the tables."""
        if not any((self.folder / f"{table}.jsonl.gz").exists() for table in TABLES):
            raise MigrationError(
                f"{self.folder} holds no knowledge base: none of {', '.join(f'{table}.jsonl.gz' for table in TABLES)} "
                "is there. Name the folder that has them."
            )

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of one table as they stand in its file."""
        path = self.folder / f"{table}.jsonl.gz"
        if not path.exists():
            return
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
