"""Explains a failed pg_dump or pg_restore to the operator: the object, the cause, and the next step.

The cause is recognised from the output in the C locale; for messages in another language the output itself is shown.
"""

import re
import shutil
import signal
from pathlib import Path

from knowledge_migration.engine.backup.pg_tools import Outcome, PgTools
from knowledge_migration.engine.backup.scratch import Origin
from knowledge_migration.engine.foundation.errors import (
    BlockedError,
    MigrationError,
    PreconditionError,
    VerificationError,
)

OUT_OF_SPACE = re.compile(r"No space left on device|File too large|Disk quota exceeded")
CORRUPTED = re.compile(
    r"valid archive|corrupt|could not uncompress|could not read|unexpected end of file|unrecognized data block|"
    r"could not find block|unsupported version"
)
# --lock-wait-timeout is a statement timeout on its LOCK TABLE
LOCKED_OUT = re.compile(r"statement timeout.*LOCK TABLE|lock timeout|could not obtain lock", re.DOTALL)
A_MESSAGE = re.compile(r"pg_(dump|restore): |[A-Z]+: ")
DETAILS = re.compile(r"(CONTEXT|DETAIL): ")
COPIED_ROW = re.compile(r"CONTEXT:\s+COPY \S+, line \d+(, column \w+)?")
VALUE = re.compile(r': "(?!.*": ).*$')
SHOWN_LINES = 5


def dump_failed(
    outcome: Outcome, origin: Origin, tools: PgTools, directory: Path, written_bytes: int
) -> MigrationError:
    """The error for a failed pg_dump. The partial file is already removed, so its bytes count as free."""
    if OUT_OF_SPACE.search(outcome.stderr) or outcome.returncode == -signal.SIGXFSZ:
        free = shutil.disk_usage(directory).free + written_bytes
        return MigrationError(
            f"There is no room for the backup of {origin.database} in {directory}: it stopped after "
            f"{written_bytes:,} bytes, {free:,} are free now that it is removed, and the database has "
            f"{origin.size_bytes:,} (a dump is compressed and rarely needs more). Free space or raise the limit, or "
            "point KNOWLEDGE_MIGRATION_HOME to another disk, and run the backup again."
        )
    if outcome.returncode < 0:
        return _killed("pg_dump", origin.database, outcome)
    if LOCKED_OUT.search(outcome.stderr):
        return BlockedError(
            f"pg_dump could not lock the tables of {origin.database}: another session holds one exclusively "
            f"({said(outcome)}). Wait until its schema change is over and run the backup again."
        )
    if "permission denied" in outcome.stderr or "row-level security" in outcome.stderr:
        return MigrationError(
            f"pg_dump may not read all of {origin.database}: {said(outcome)}. Grant the migration's user "
            "pg_read_all_data (BYPASSRLS where tables have row security), and run the backup again."
        )
    return MigrationError(
        f"pg_dump {tools.version} of {origin.database} failed with exit code {outcome.returncode}: {said(outcome)}. "
        "No file was written; correct the cause and run the backup again."
    )


def restore_failed(outcome: Outcome, origin: Origin, tools: PgTools) -> MigrationError:
    """The error for a dump that could not be restored; the dump is already removed."""
    output = said(outcome)
    if outcome.returncode < 0:
        return _killed("pg_restore", origin.database, outcome)
    if OUT_OF_SPACE.search(outcome.stderr):
        return MigrationError(
            f"The scratch server has no room to restore {origin.database} ({origin.size_bytes:,} bytes): {output}. "
            "Free space there, or set KNOWLEDGE_MIGRATION_SCRATCH_URL to another server, and run the backup again."
        )
    if "extension" in outcome.stderr and "is not available" in outcome.stderr:
        return MigrationError(
            f"The scratch server lacks an extension of {origin.database}: {output}. Install it there, or set "
            "KNOWLEDGE_MIGRATION_SCRATCH_URL to a server that has it, and run the backup again."
        )
    if "permission denied" in outcome.stderr:
        return PreconditionError(
            f"The scratch server's user lacks a right that restoring {origin.database} needs: {output}. Set "
            "KNOWLEDGE_MIGRATION_SCRATCH_URL to a user who has it (extensions such as pgvector need a superuser, or "
            "the provider's administrator role), and run the backup again."
        )
    if "unrecognized configuration parameter" in outcome.stderr:
        return MigrationError(
            f"pg_restore {tools.version} is too new for the scratch server: {output}. Install "
            f"postgresql-client-{origin.major}, or set KNOWLEDGE_MIGRATION_PG_BIN to its folder."
        )
    if CORRUPTED.search(outcome.stderr):
        return VerificationError(
            f"The dump of {origin.database} is corrupted: pg_restore says {output}. It is removed. "
            "Check the disk under the backup folder, and run the backup again."
        )
    return VerificationError(
        f"The dump of {origin.database} does not restore (pg_restore {tools.version}, exit code {outcome.returncode}): "
        f"{output}. It is removed. Correct the object it names, or set "
        "KNOWLEDGE_MIGRATION_SCRATCH_URL to a server with the same extensions and roles, and run the backup again."
    )


def _killed(program: str, database: str, outcome: Outcome) -> MigrationError:
    name = signal.Signals(-outcome.returncode).name
    return MigrationError(
        f"{program} of {database} was killed by {name}: manually, or by the kernel because memory ran out (see its log). "
        "No backup was written; run it again."
    )


def said(outcome: Outcome) -> str:
    """The last lines of the output of a tool, without values of rows: they follow a colon, or are in the details."""
    lines, hidden = [], False
    for line in (one.strip() for one in outcome.stderr.splitlines() if one.strip()):
        place = COPIED_ROW.match(line)
        hidden = bool(DETAILS.match(line)) or (hidden and not A_MESSAGE.match(line))
        if place:
            lines.append(place[0])
        elif not hidden:
            lines.append(VALUE.sub("", line))
    return " | ".join(lines[-SHOWN_LINES:]) or "nothing on stderr"
