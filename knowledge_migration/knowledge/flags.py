"""The feature flags: one state, one routing table, one function that changes them (strategy §7, its §6.3 values).

They are one row of `feature_flags`, so that a change is seen whole or not at all. The environment provides the initial values
until somebody sets flags. Where the row is lost, the last audited flags apply: initial values would open direct writes again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import ConfigDict, Field, ValidationError
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge import audit
from knowledge_migration.knowledge.audit import AuditAction
from knowledge_migration.knowledge.tables import ORIGIN_CONSTRAINTS, audit_log, feature_flags
from knowledge_migration.settings import FlagSettings

FLAG_NAME = "knowledge_proposals"
CHANNEL = "knowledge_flags"
BUCKETS = 10_000
RETIRED = "legacy_paths_retired"

Mode = Literal["direct", "dual_write", "proposal"]
State = Literal["off", "dual_write", "rollout", "rollout_without_dual_write", "full"]

LOST = (
    "they are gone from feature_flags; the last audited ones apply. Write them back: knowledge-migration recover flags"
)

SHADOWING_STATES: tuple[State, ...] = ("dual_write", "rollout", "full")
"""States in which no extraction writes knowledge without a proposal."""


class FlagsError(Exception):
    """The flags cannot be changed as asked, or the row holds invalid flags."""


class StaleFlagsError(FlagsError):
    """Somebody else has changed the flags since they were read."""


class Flags(FlagSettings):
    """One version of the flags; `version` 0 are the initial values, which nobody has set."""

    model_config = ConfigDict(strict=True, alias_generator=lambda name: f"{FLAG_NAME}_{name}")

    legacy_paths_retired: bool = Field(
        default=False, description="Locked by phase 5: proposals only, for everyone; nothing writes directly any more."
    )
    version: int = Field(default=0, ge=0, alias="version", description="Raised by every change.")

    @property
    def state(self) -> State:
        """The state of the routing (ERRATA W2)."""
        if not self.enabled:
            return "dual_write" if self.dual_write else "off"
        if self.audience == "everyone" and self.cutover_percentage == 100:
            return "full"
        return "rollout" if self.dual_write else "rollout_without_dual_write"

    @property
    def records_origins(self) -> bool:
        """Whether a row that a user writes gets its proposal at once."""
        return self.dual_write or self.enabled

    @property
    def values(self) -> dict[str, Any]:
        """All but the version, as JSON, by the short names."""
        return self.model_dump(mode="json", exclude={"version"}, by_alias=False)


def bucket(user_id: int | None, message_ids: Sequence[int]) -> int:
    """A stable number of 0 to 9,999 of the user, or of the set of messages where there is none (ERRATA C1)."""
    key = f"user:{user_id}" if user_id is not None else f"messages:{','.join(map(str, sorted(set(message_ids))))}"
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"cutover").digest()
    return int.from_bytes(digest) % BUCKETS


def route(flags: Flags, user_id: int | None, message_ids: Sequence[int]) -> Mode:
    """The routing table: the mode of an extraction under these flags."""
    if not flags.enabled:
        return "dual_write" if flags.dual_write else "direct"
    listed = user_id is not None and user_id in flags.admin_user_ids
    rolled_out = (
        flags.audience == "everyone" and bucket(user_id, message_ids) < flags.cutover_percentage * BUCKETS // 100
    )
    if listed or rolled_out:
        return "proposal"
    return "dual_write" if flags.dual_write else "direct"


def read_flags(connection: sa.Connection) -> Flags | None:
    """The flags as they are set, or as last audited where the row is lost; None when nobody has set any.

    Raises `FlagsError` for a row that cannot be read.
    """
    row = stored_row(connection)
    return flags_of(row) if row else last_audited(connection)


def present_flags(connection: sa.Connection, known: Flags) -> tuple[Flags, str | None]:
    """The flags that apply to a process that knows some, and the problem where they are not those of the row.

    Where the row is lost or cannot be read, the last audited ones apply, unless the known ones are newer. Before phase 1 the
    known ones apply, and no statement fails.
    """
    if not known.version and not relation_exists(connection, "public.feature_flags"):
        return known, None
    row, problem = stored_row(connection), None
    try:
        if row:
            return flags_of(row), None
    except FlagsError as error:
        problem = str(error)
    try:
        audited = last_audited(connection)
    except FlagsError as error:
        audited, problem = None, str(error)
    newest = audited if audited and audited.version > known.version else known
    return newest, problem or (LOST if newest.version else None)


def relation_exists(connection: sa.Connection, name: str) -> bool:
    """Whether a relation of this qualified name exists; a statement that fails would leave an error in the server's log."""
    return bool(connection.execute(sa.select(sa.func.to_regclass(name).is_not(None))).scalar_one())


def last_audited(connection: sa.Connection) -> Flags | None:
    """The flags after the last audited change; None without one, or when the schema was rolled back since.

    Raises `FlagsError` for an entry that cannot be read.
    """
    log = sa.func.to_regclass("migration.audit_log")
    if not connection.execute(sa.select(sa.func.has_table_privilege(log, "SELECT"))).scalar_one():
        return None
    last = _changes(audit_log.c.id, audit_log.c.after).limit(1).subquery()
    given_up = sa.select(audit_log.c.id).where(
        audit_log.c.subject == audit.phase(1),
        audit_log.c.action == AuditAction.ROLLBACK_SCHEMA,
        audit_log.c.id > last.c.id,
    )
    after = connection.execute(sa.select(last.c.after).where(~sa.exists(given_up))).scalar_one_or_none()
    return None if after is None else _from_values(after)


def stored_row(connection: sa.Connection, *, lock: bool = False) -> sa.RowMapping | None:
    """The row of the flags as it is, readable or not; None where there is none."""
    query = _row().with_for_update() if lock else _row()
    return connection.execute(query).mappings().one_or_none()


def flags_of(row: sa.RowMapping) -> Flags:
    """The flags that a row of `feature_flags` holds."""
    return _from_values(_values_of(row))


def _values_of(row: sa.RowMapping) -> dict[str, Any]:
    """The values of the row by name; a config that is no JSON object gets a name that no flag has."""
    config = row["config"]
    named = config if isinstance(config, dict) else {} if config is None else {"config": config}
    return {**named, "enabled": row["enabled"], "version": row["version"]}


def _from_values(values: Mapping[str, Any]) -> Flags:
    try:
        return Flags(**values)
    except (ValidationError, TypeError) as error:
        raise FlagsError(
            f"The row {FLAG_NAME} of feature_flags holds what flags cannot be ({_problems(error)}). Take the last audited flags: "
            "knowledge-migration recover flags; or set every flag again: knowledge-migration flags set --reset."
        ) from error


def set_flags(
    connection: sa.Connection,
    changes: Mapping[str, Any],
    *,
    initial: Flags,
    actor: str,
    reason: str,
    expected_version: int | None = None,
    reset: bool = False,
    dagster_run_id: str | None = None,
) -> Flags:
    """Changes some flags, writes the audit entry and notifies, all in the caller's transaction; returns the new ones.

    `changes` are by short name or by the strategy's. With `reset`, flags that are not named become `initial` again. A lost
    row begins with the last audited flags. A change of nothing is not audited. Raises `FlagsError` for a name or value that
    does not exist, `StaleFlagsError` when `expected_version` is not the present one.
    """
    refuse_without_reason(reason)
    row = _row_to_change(connection, initial, reset=reset)
    if expected_version is not None and row["version"] != expected_version:
        raise StaleFlagsError(
            f"The flags have version {row['version']}, not {expected_version}: somebody changed them. Read them again."
        )
    before = None if reset else flags_of(row)
    after = changed(before or initial, changes).model_copy(update={"version": row["version"] + 1})
    _refuse_unlocking(row, after, changes)
    _refuse_what_the_database_refuses(connection, after)
    if before and before.version and before.values == after.values:
        return before
    store(connection, row, after, actor=actor, reason=reason, dagster_run_id=dagster_run_id)
    return after


def refuse_without_reason(reason: str) -> None:
    """Raises `FlagsError` for a blank reason."""
    if not reason.strip():
        raise FlagsError("A change of flags needs a reason; it is recorded in the audit log.")


def _row_to_change(connection: sa.Connection, initial: Flags, *, reset: bool) -> sa.RowMapping:
    """The row, locked; inserted where there is none."""
    row = stored_row(connection, lock=True)
    if row is not None:
        return row
    try:
        begin = last_audited(connection) or initial
    except FlagsError:
        if not reset:
            raise
        begin = initial
    return inserted_row(connection, begin)


def inserted_row(connection: sa.Connection, flags: Flags) -> sa.RowMapping:
    """The row, inserted with these flags unless somebody else has inserted it meanwhile, and locked."""
    row = {
        "name": FLAG_NAME,
        "enabled": flags.enabled,
        "config": _config(flags),
        "version": None,
    }  # the one last audited
    connection.execute(insert(feature_flags).values(row).on_conflict_do_nothing())
    return connection.execute(_row().with_for_update()).mappings().one()


def store(
    connection: sa.Connection,
    row: sa.RowMapping,
    after: Flags,
    *,
    actor: str,
    reason: str,
    dagster_run_id: str | None = None,
) -> None:
    """Writes flags over the locked row, with the audit entry, and notifies every process."""
    values = {"enabled": after.enabled, "config": _config(after), "version": after.version}
    updated = sa.update(feature_flags).where(feature_flags.c.name == FLAG_NAME)
    connection.execute(updated.values(**values, updated_at=sa.func.clock_timestamp()))
    written: dict[str, Any] = {"before": _values_of(row), "after": {**after.values, "version": after.version}}
    who: dict[str, Any] = {"actor": actor, "reason": reason, "dagster_run_id": dagster_run_id}
    connection.execute(audit.entry(AuditAction.SET_FLAGS, FLAG_NAME, **written, **who))
    connection.execute(sa.select(sa.func.pg_notify(CHANNEL, str(after.version))))


def changed(flags: Flags, changes: Mapping[str, Any]) -> Flags:
    """The flags with some values changed; raises `FlagsError` that names what cannot be."""
    short = {name.removeprefix(f"{FLAG_NAME}_"): value for name, value in changes.items()}
    unknown = sorted(set(short) - set(flags.values))
    if unknown:
        raise FlagsError(f"There is no flag {', '.join(unknown)}. The flags are {', '.join(flags.values)}.")
    try:
        after = Flags(**{**flags.values, **short})
    except ValidationError as error:
        raise FlagsError(f"The flags cannot be set so: {_problems(error)}.") from error
    if after.legacy_paths_retired and (after.state != "full" or after.dual_write):
        raise FlagsError(
            "Direct writes and dual write are retired (phase 5), so proposals have to stay on for everyone, without dual "
            "write. To open the old paths again, set legacy_paths_retired=false in the same change, with the reason."
        )
    return after


def _refuse_unlocking(row: sa.RowMapping, after: Flags, changes: Mapping[str, Any]) -> None:
    """Only a change that names the lock of phase 5 opens it; a reset does not."""
    named = {name.removeprefix(f"{FLAG_NAME}_") for name in changes}
    if _values_of(row).get(RETIRED) is True and not after.legacy_paths_retired and RETIRED not in named:
        raise FlagsError(
            "Direct writes and dual write are retired (phase 5). To open the old paths again, name it: "
            "legacy_paths_retired=false."
        )


def _refuse_what_the_database_refuses(connection: sa.Connection, after: Flags) -> None:
    """Raises while the database refuses rows without a proposal; phase 5 locks the flags' row when it adds that rule."""
    if after.legacy_paths_retired:
        return
    relations = [sa.func.to_regclass(f"public.{table}") for table in ORIGIN_CONSTRAINTS]
    catalog = sa.table("pg_constraint", sa.column("conname", sa.Text), sa.column("conrelid"))
    present = sa.select(catalog.c.conname).where(
        catalog.c.conname.in_(ORIGIN_CONSTRAINTS.values()), catalog.c.conrelid.in_(relations)
    )
    names = connection.execute(present.order_by(catalog.c.conname)).scalars().all()
    if names:
        raise FlagsError(
            f"The database refuses rows without a proposal since phase 5 ({', '.join(names)}), so direct writes would fail. "
            "Open the old paths with knowledge-migration cleanup reopen --reason …, then set the flags."
        )


def history(connection: sa.Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The latest changes, newest first: at, actor, reason, before, after."""
    columns = (audit_log.c[name] for name in ("at", "actor", "reason", "before", "after"))
    return [dict(row) for row in connection.execute(_changes(*columns).limit(limit)).mappings()]


def changes_since(connection: sa.Connection, version: int) -> list[Flags]:
    """The flags after each audited change after `version`, oldest first."""
    later = _changes(audit_log.c.after).where(audit_log.c.after["version"].as_integer() > version)
    return [_from_values(after) for after in reversed(connection.execute(later).scalars().all())]


def _changes(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Entries of changes of the flags, newest first."""
    of_flags = sa.and_(audit_log.c.subject == FLAG_NAME, audit_log.c.action == AuditAction.SET_FLAGS)
    return sa.select(*columns).where(of_flags).order_by(audit_log.c.id.desc())


def _row() -> sa.Select[Any]:
    columns = feature_flags.c
    return sa.select(columns.enabled, columns.config, columns.version).where(columns.name == FLAG_NAME)


def _config(flags: Flags) -> dict[str, Any]:
    return {name: value for name, value in flags.values.items() if name != "enabled"}


def _problems(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    return "; ".join(f"{item['loc'][0] if item['loc'] else 'row'}: {item['msg'].lower()}" for item in error.errors())
