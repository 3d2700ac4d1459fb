"""Where a verified backup is kept: a path of this machine, or a URL of fsspec (`s3://bucket/folder`) for every machine.

A dump is written and verified on this machine, then uploaded, read back, and described: one without its manifest, or with
another checksum than the evidence in the database, is no backup. The credentials are those of the library of the URL.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from knowledge_migration.engine.foundation.errors import MigrationError, VerificationError

if TYPE_CHECKING:
    from upath import UPath

    Location = Path | UPath

LOCAL_PROTOCOLS = ("", "file", "local")
PROBE = ".knowledge_migration_probe"


@dataclass(frozen=True)
class BackupFolder:
    """The directory in which backups are written; `remote` is where they are uploaded to and kept, if anywhere."""

    directory: Path
    remote: "UPath | None" = None

    @classmethod
    def named(cls, folder: str | None, default: Path) -> "BackupFolder":
        """A directory or a URL; a backup on its way to a URL is written to `default`."""
        location = location_of(folder) if folder else default
        return cls(location.expanduser().absolute()) if isinstance(location, Path) else cls(default, location)

    @property
    def location(self) -> "Location":
        """Where the backups are kept."""
        return self.remote or self.directory

    def refuse_unwritable(self) -> None:
        """Writes and reads a few bytes at the URL, before hours of work. Raises `MigrationError` where that fails."""
        if self.remote is None:
            return
        probe = self.remote / PROBE
        with translate_remote_errors(probe):
            probe.fs.pipe_file(probe.path, b"probe")
            probe.fs.cat_file(probe.path)
        with suppress(Exception):  # who may not delete there may still write backups
            probe.fs.rm_file(probe.path)


def location_of(text: str) -> "Location":
    """A path as it is; `file://` is one, too."""
    if not is_remote(text):
        return Path(text)
    from upath import UPath  # imported here: a rollback of the flags does without

    located = UPath(text, use_listings_cache=False)  # another machine may have written there
    return Path(located.path) if located.protocol in LOCAL_PROTOCOLS else located


def is_remote(text: str) -> bool:
    """Whether it is written as a URL."""
    return "://" in text


def sha256(location: "Location") -> str:
    """The checksum of the bytes there."""
    with location.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def upload(file: Path, checksum: str, target: "UPath", manifest: bytes) -> "UPath":
    """Uploads a dump, reads it back, then writes its manifest, whose place it returns; removes both when that fails."""
    described = target.with_suffix(".json")
    try:
        with translate_remote_errors(target):
            target.fs.put_file(str(file), target.path)
            if sha256(target) != checksum:
                raise VerificationError(f"{target} is not the dump that was uploaded to it. Run the backup again.")
            described.fs.pipe_file(described.path, manifest)
    except BaseException:
        for place in (described, target):
            with suppress(Exception):
                place.fs.rm_file(place.path)
        raise
    return described


@contextmanager
def local_copy(location: "Location", checksum: str) -> Iterator[Path]:
    """The dump as a file: itself, or a private copy that is compared with the checksum, and removed after the block."""
    if isinstance(location, Path):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="knowledge_migration_") as folder:
        copy = Path(folder, location.name)
        copy.touch(mode=0o600)
        with translate_remote_errors(location):
            location.fs.get_file(location.path, str(copy))
        if sha256(copy) != checksum:
            raise VerificationError(
                f"The copy of {location} is not the backup that was verified. Do not restore it; run the backup again."
            )
        yield copy


@contextmanager
def translate_remote_errors(location: "Location", *, besides: type[Exception] = MigrationError) -> Iterator[None]:
    """Raises `MigrationError` for what the library of a URL raises, which is any class, `besides` one for the caller."""
    try:
        yield
    except (MigrationError, besides):
        raise
    except Exception as error:
        if isinstance(location, Path):
            raise
        raise MigrationError(
            f"{location} cannot be used: {type(error).__name__}: {error}. Check KNOWLEDGE_MIGRATION_BACKUPS, the rights "
            "and the credentials there, and that the extra for its protocol (s3, gcs, azure) is installed; run this again."
        ) from error
