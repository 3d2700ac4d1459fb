"""The files of a backup: hidden and partial until it is verified, then `<name>.dump` with its manifest `<name>.json`.

The manifest is written first; the dump gets its name last, in one step and never over another file. The process that
holds the lock of a partial file owns it (this one, or a pg_dump that outlives it); the next run removes a file without a
lock. Only the owner can read the files.
"""

import errno
import fcntl
import io
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge_migration.engine.backup.location import location_of, sha256, translate_remote_errors, upload
from knowledge_migration.engine.foundation.atomic_file import sync_directory
from knowledge_migration.engine.foundation.errors import MigrationError, VerificationError

if TYPE_CHECKING:
    from upath import UPath

    from knowledge_migration.engine.backup.location import Location

PARTIAL_SUFFIX = ".dump.partial"


@dataclass(frozen=True)
class PartialFile:
    """A dump that is not verified yet: its path, and the open file that holds its lock."""

    path: Path
    held: io.FileIO

    @property
    def name(self) -> str:
        """The backup's name, without folder and endings."""
        return self.path.name.removeprefix(".").removesuffix(PARTIAL_SUFFIX)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return os.fstat(self.descriptor).st_size

    @property
    def descriptor(self) -> int:
        """The descriptor that holds the lock, for a child process to share."""
        return self.held.fileno()

    @classmethod
    def create(cls, directory: Path, database: str, moment: datetime) -> "PartialFile":
        """An empty file of mode 0600, named after the database and the moment, and locked.

        Raises `MigrationError` when the directory cannot be written.
        """
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", database)[:100]
        while True:
            name = f"{readable}_{moment.astimezone(UTC):%Y%m%dT%H%M%S_%f}Z_{secrets.token_hex(2)}"
            path = directory / f".{name}{PARTIAL_SUFFIX}"
            held = io.FileIO(_new_file(path), "r+")
            fcntl.flock(held, fcntl.LOCK_EX)
            if os.fstat(held.fileno()).st_nlink:
                return cls(path, held)
            held.close()  # another run removed it as a leftover before it was locked

    def publish(self, manifest: Mapping[str, Any], remote: "UPath | None" = None) -> "tuple[Location, Location]":
        """Gives the verified dump its name, here or at `remote`; returns the places of dump and manifest.

        Raises `MigrationError`, and leaves no backup then.
        """
        content = json.dumps(manifest, indent=2).encode()
        if remote is not None:
            uploaded = remote / f"{self.name}.dump"
            described_there = upload(self.path, manifest["sha256"], uploaded, content)
            self.discard()
            return uploaded, described_there
        dump, described = self.path.with_name(f"{self.name}.dump"), self.path.with_name(f"{self.name}.json")
        try:
            _write(described, content)
            _rename_without_overwriting(self.path, dump)
            sync_directory(dump.parent)
        except OSError as error:
            if not dump.exists():
                described.unlink(missing_ok=True)
            raise MigrationError(
                f"The backup is verified but cannot be named {dump}: {error.strerror}. Make the folder writable, or "
                "point KNOWLEDGE_MIGRATION_HOME elsewhere, and run the backup again."
            ) from error
        self.held.close()
        return dump, described

    def discard(self) -> None:
        """Removes the file if it exists."""
        self.path.unlink(missing_ok=True)
        self.held.close()


def prepare(directory: Path) -> None:
    """The directory (made with mode 0700), without the partial files of runs that were killed."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.glob(f".*{PARTIAL_SUFFIX}"):
            _remove_unless_held(path)
    except OSError as error:
        raise _unwritable(directory, error) from error


def sync(partial: PartialFile) -> None:
    """Syncs the file and its directory entry to disk."""
    os.fsync(partial.descriptor)
    sync_directory(partial.path.parent)


def verify_file(recorded: Mapping[str, Any]) -> "Location":
    """The place of the evidence `verified_backup`, if its bytes are those that were verified.

    The checksum in the database decides; the manifest beside the file is for people, and must not contradict it. Raises
    `VerificationError` when the file or its manifest is missing, or one of them was altered or belongs to another database,
    `MigrationError` when a URL cannot be read.
    """
    path = location_of(recorded["path"])
    described = path.with_suffix(".json")
    try:
        with translate_remote_errors(path, besides=FileNotFoundError):
            content, actual = described.read_bytes(), sha256(path)
        manifest = dict(json.loads(content))
    except FileNotFoundError as error:
        raise VerificationError(
            f"{error.filename or error} is missing, so the backup {path.name} cannot be trusted. Restore the file, run the "
            "backup again, or set KNOWLEDGE_MIGRATION_BACKUPS to a place that every machine reads."
        ) from error
    except (ValueError, TypeError) as error:
        raise VerificationError(f"The manifest {described} is damaged. Run the backup again.") from error
    expected = recorded.get("sha256")
    if actual != expected:
        raise VerificationError(
            f"The backup {path} is not the one that was verified: its SHA-256 is {actual}, the evidence in the database says "
            f"{expected}. Do not restore it; run the backup again."
        )
    if differing := [name for name in ("sha256", "origin") if manifest.get(name) != recorded.get(name)]:
        raise VerificationError(
            f"The manifest {described} contradicts the evidence in the database ({', '.join(differing)}). Do not restore this "
            "backup; run the backup again."
        )
    return path


def _new_file(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _unwritable(directory: Path, error: OSError) -> MigrationError:
    return MigrationError(
        f"Cannot write a backup to {directory}: {error.strerror}. "
        "Make the folder writable, or point KNOWLEDGE_MIGRATION_HOME elsewhere."
    )


def _remove_unless_held(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _rename_without_overwriting(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        # a file system without hard links: the name holds microseconds and a random part, nobody else has it
        source.rename(target)
    else:
        source.unlink()


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
