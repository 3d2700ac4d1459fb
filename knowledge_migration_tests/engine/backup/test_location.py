"""A backup at a URL: any machine verifies and restores it; half of one, or an altered one, is refused."""

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from knowledge_migration.engine.backup.files import verify_file
from knowledge_migration.engine.backup.location import BackupFolder, local_copy, location_of
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import MigrationError, VerificationError
from knowledge_migration.engine.preparation.legacy_snapshot import take_legacy_snapshot
from knowledge_migration.engine.rollback.repair.backup_copy import restored_backup
from knowledge_migration.engine.schema import upgrade as schema
from knowledge_migration.settings import SchemaChangeSettings
from knowledge_migration_tests.engine.backup.legacy_rows import fill
from knowledge_migration_tests.support.s3_server import BUCKET, s3_server


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of private copies, which is empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def s3_variables() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "memory":
        return location_of(f"memory://{uuid4()}/backups")
    for name, value in request.getfixturevalue("s3_variables").items():
        monkeypatch.setenv(name, value)
    return location_of(f"s3://{BUCKET}/{uuid4()}")


@pytest.fixture
def memory() -> Any:
    return location_of(f"memory://{uuid4()}/backups")


@pytest.fixture
def filled(database: Database) -> Database:
    with database.connect() as connection:
        fill(connection)
    schema.prepare_evidence(database, SchemaChangeSettings())
    return database


def backed_up(database: Database, server: EmbeddedServer, folder: BackupFolder) -> dict[str, Any]:
    """The evidence of a backup."""
    take_legacy_snapshot(
        database, folder=folder, scratch=server.admin, tools_directory=None, range_ids=10_000, progress=lambda _: None
    )
    with database.connect() as connection:
        return evidence.require(connection, "verified_backup", made_by="this test").content


def names(remote: UPath) -> list[str]:
    return sorted(Path(name).name for name in remote.fs.find(remote.path))


def test_a_backup_at_a_url_is_verified_and_restored_by_a_machine_that_did_not_make_it(
    filled: Database, server: EmbeddedServer, tmp_path: Path, temporary: Path, remote: UPath
) -> None:
    content = backed_up(filled, server, BackupFolder(tmp_path / "home", remote))

    dump, described = Path(content["path"]).name, Path(content["manifest"]).name
    assert names(remote) == [dump, described]
    assert list((tmp_path / "home").iterdir()) == [], "nothing is kept where it was written"
    assert str(verify_file(content)) == content["path"] == f"{remote}/{dump}"
    assert json.loads((remote / described).read_bytes())["sha256"] == content["sha256"]
    with restored_backup(filled, scratch=server.admin, progress=lambda _: None) as restored:
        assert restored.connection.execute("SELECT count(*) AS n FROM atoms").fetchone() == {"n": 4}
    assert list(temporary.iterdir()) == []


def test_the_copy_for_a_restore_is_private_verified_and_removed(memory: UPath, temporary: Path) -> None:
    (memory / "a.dump").write_bytes(b"rows")
    with (
        pytest.raises(VerificationError, match=r"copy of memory://.*a\.dump is not the backup"),
        local_copy(memory / "a.dump", hashlib.sha256(b"other rows").hexdigest()),
    ):
        pass
    with local_copy(memory / "a.dump", hashlib.sha256(b"rows").hexdigest()) as copy:
        assert copy.read_bytes() == b"rows"
        assert [stat.S_IMODE(path.stat().st_mode) for path in (copy, copy.parent)] == [0o600, 0o700]
    assert list(temporary.iterdir()) == []


def test_a_backup_that_is_altered_at_its_url_is_refused(
    filled: Database, server: EmbeddedServer, tmp_path: Path, remote: UPath
) -> None:
    content = backed_up(filled, server, BackupFolder(tmp_path / "home", remote))
    dump = location_of(content["path"])
    dump.write_bytes(dump.read_bytes()[:-1] + b"!")

    with pytest.raises(VerificationError, match="is not the one that was verified"):
        verify_file(content)
    dump.unlink()
    with pytest.raises(VerificationError, match=r"is missing, so the backup .*KNOWLEDGE_MIGRATION_BACKUPS"):
        verify_file(content)


def test_an_upload_that_fails_half_way_leaves_nothing(
    filled: Database, server: EmbeddedServer, tmp_path: Path, memory: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "put_file", half_then_failing)
    with pytest.raises(MigrationError, match=r"memory://.*\.dump cannot be used: ConnectionError: gone"):
        backed_up(filled, server, BackupFolder(tmp_path / "home", memory))
    assert names(memory) == []
    assert list((tmp_path / "home").iterdir()) == []


def test_an_upload_that_ends_with_its_process_is_no_backup(
    filled: Database, server: EmbeddedServer, tmp_path: Path, memory: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "put_file", half_then_failing)
    monkeypatch.setattr(MemoryFileSystem, "rm_file", failing)  # a killed process removes nothing
    with pytest.raises(MigrationError):
        backed_up(filled, server, BackupFolder(tmp_path / "home", memory))
    (half,) = (name for name in names(memory) if name.endswith(".dump"))
    assert not [name for name in names(memory) if name.endswith(".json")]

    with filled.connect() as connection:
        assert evidence.latest(connection, "verified_backup") is None
    with pytest.raises(VerificationError, match=r"\.json is missing"):
        verify_file({"path": f"{memory}/{half}", "sha256": "", "origin": ""})


def test_an_upload_that_arrives_different_is_refused_and_removed(
    filled: Database, server: EmbeddedServer, tmp_path: Path, memory: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "put_file", half)
    with pytest.raises(VerificationError, match=r"memory://.*\.dump is not the dump that was uploaded"):
        backed_up(filled, server, BackupFolder(tmp_path / "home", memory))
    assert names(memory) == []


def test_a_url_that_cannot_be_written_is_refused_before_the_dump(
    filled: Database, server: EmbeddedServer, tmp_path: Path, remote: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", failing)
    elsewhere = location_of(str(remote).replace(BUCKET, "no-such-bucket"))
    with pytest.raises(MigrationError, match=r"cannot be used: .*KNOWLEDGE_MIGRATION_BACKUPS.*s3, gcs, azure"):
        backed_up(filled, server, BackupFolder(tmp_path / "home", elsewhere))
    assert not (tmp_path / "home").exists()


def test_a_folder_is_shared_by_two_homes_as_a_path_or_as_a_url(
    filled: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    one, other = (BackupFolder.named(f"file://{tmp_path}/shared", tmp_path / home / "backups") for home in "ab")
    assert one == other == BackupFolder.named(f"{tmp_path}/shared", tmp_path / "c") == BackupFolder(tmp_path / "shared")
    content = backed_up(filled, server, one)

    assert verify_file(content).parent == other.directory
    assert stat.S_IMODE(other.directory.stat().st_mode) == 0o700


def half(files: MemoryFileSystem, source: str, target: str, **_: Any) -> None:
    content = Path(source).read_bytes()
    files.pipe_file(target, content[: len(content) // 2])


def half_then_failing(files: MemoryFileSystem, source: str, target: str, **_: Any) -> None:
    half(files, source, target)
    raise ConnectionError("gone")


def failing(*_: Any, **__: Any) -> None:
    raise ConnectionError("gone")
