"""The feature flags: one state, one routing table, one function that changes them (strategy §7, its §6.3 values).

They live in one row of `feature_flags`, so that a change is seen whole or not at all. `set_flags` writes the audit entry
in the same transaction and notifies every process; `knowledge.flag_watcher` obeys. The environment variables of the
strategy are the initial values, until somebody sets one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.dialects.postgresql import insert

from knowledge_migration.knowledge.tables import audit_log, feature_flags

FLAG_NAME = "knowledge_proposals"
CHANNEL = "knowledge_flags"
BUCKETS = 10_000
RETIRED = "legacy_paths_retired"

Mode = Literal["direct", "dual_write", "proposal"]
State = Literal["off", "dual_write", "rollout", "rollout_without_dual_write", "full"]

SHADOWING_STATES: tuple[State, ...] = ("dual_write", "rollout", "full")
"""In these no extraction writes knowledge without a proposal."""


class FlagsError(Exception):
    """The flags cannot be changed as asked, or the row holds what they cannot be."""


class StaleFlagsError(FlagsError):
    """Somebody else has changed the flags since they were read."""


def _strategy_name(field: str) -> str:
    return f"knowledge_proposals_{field}"


class Flags(BaseModel):
    """One version of the flags; `version` 0 are the initial values, which nobody has set."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=_strategy_name, validate_by_name=True
    )

    enabled: bool = Field(default=False, description="Master switch of the proposal system.")
    dual_write: bool = Field(default=False, description="Write proposals beside direct writes.")
    cutover_percentage: int = Field(
        default=0, ge=0, le=100, description="Share of users whose extractions become proposals only, in percent."
    )
    audience: Literal["admins", "everyone"] = Field(
        default="everyone", description="Whom the percentage counts among: everyone, or the listed admins only."
    )
    admin_user_ids: tuple[int, ...] = Field(
        default=(), strict=False, description="Users whose extractions are proposals as soon as proposals are enabled."
    )
    auto_approve_high_confidence: bool = Field(
        default=True, description="Approve proposals of high confidence without a reviewer."
    )
    auto_approve_threshold: float = Field(
        default=0.95,
        ge=0,
        le=1,
        strict=False,
        description="Confidence from which a proposal is approved automatically.",
    )
    legacy_paths_retired: bool = Field(
        default=False, description="Locked by phase 5: proposals only, for everyone; nothing writes directly any more."
    )
    version: int = Field(default=0, ge=0, alias="version", description="Raised by every change.")

    @property
    def state(self) -> State:
        """What may happen to an extraction, in one word (ERRATA W2)."""
        if not self.enabled:
            return "dual_write" if self.dual_write else "off"
        if self.audience == "everyone" and self.cutover_percentage == 100:
            return "full"
        return "rollout" if self.dual_write else "rollout_without_dual_write"

    @property
    def records_origins(self) -> bool:
        """Whether a row that a user writes by hand gets its proposal at once."""
        return self.dual_write or self.enabled

    @property
    def values(self) -> dict[str, Any]:
        """All but the version, as JSON, by the short names."""
        return self.model_dump(mode="json", exclude={"version"}, by_alias=False)


def bucket(user_id: int | None, message_ids: Sequence[int]) -> int:
    """A number of 0 to 9,999 that stays with the user, or with the set of messages where there is none.

    Sticky (a retry goes the same way) and monotonic: raising the percentage never moves anybody back (ERRATA C1).
    """
    key = f"user:{user_id}" if user_id is not None else f"messages:{','.join(map(str, sorted(set(message_ids))))}"
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"cutover").digest()
    return int.from_bytes(digest) % BUCKETS


def route(flags: Flags, user_id: int | None, message_ids: Sequence[int]) -> Mode:
    """The routing table: where this extraction goes under these flags."""
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
    """The flags as they are set; None when nobody has set any. Raises `FlagsError` for a row that cannot be read."""
    row = connection.execute(_row()).mappings().one_or_none()
    return flags_of(row) if row else None


def flags_of(row: sa.RowMapping) -> Flags:
    """The flags that a row of `feature_flags` holds."""
    return _from_values(_values_of(row))


def _values_of(row: sa.RowMapping) -> dict[str, Any]:
    """All that the row holds, by name; a config that is no JSON object stands under a name that no flag has."""
    config = row["config"]
    named = config if isinstance(config, dict) else {} if config is None else {"config": config}
    return {**named, "enabled": row["enabled"], "version": row["version"]}


def _from_values(values: Mapping[str, Any]) -> Flags:
    try:
        return Flags(**values)
    except (ValidationError, TypeError) as error:
        raise FlagsError(
            f"The row {FLAG_NAME} of feature_flags holds what flags cannot be ({_words(error)}). Set every flag again: "
            "knowledge-migration flags set --reset."
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

    `changes` are by short name or by the strategy's. With `reset` what is not named becomes `initial` again, whatever
    the row holds. A change that changes nothing is neither audited nor counted. Raises `FlagsError` for a name or value
    that does not exist, `StaleFlagsError` when `expected_version` is not the present one.
    """
    if not reason.strip():
        raise FlagsError("A change of flags needs a reason; it goes to the audit log.")
    connection.execute(
        insert(feature_flags)
        .values(name=FLAG_NAME, enabled=initial.enabled, config=_config(initial), version=_last_audited_version())
        .on_conflict_do_nothing()
    )
    row = connection.execute(_row().with_for_update()).mappings().one()
    if expected_version is not None and row["version"] != expected_version:
        raise StaleFlagsError(
            f"The flags have version {row['version']}, not {expected_version}: somebody changed them. Read them again."
        )
    before = None if reset else flags_of(row)
    after = changed(before or initial, changes).model_copy(update={"version": row["version"] + 1})
    _refuse_unlocking(row, after, changes)
    if before and before.version and before.values == after.values:
        return before
    connection.execute(
        sa.update(feature_flags)
        .where(feature_flags.c.name == FLAG_NAME)
        .values(
            enabled=after.enabled, config=_config(after), version=after.version, updated_at=sa.func.clock_timestamp()
        )
    )
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action="set flags",
            subject=FLAG_NAME,
            before=_values_of(row),
            after={**after.values, "version": after.version},
            reason=reason,
            dagster_run_id=dagster_run_id,
        )
    )
    connection.execute(sa.select(sa.func.pg_notify(CHANNEL, str(after.version))))
    return after


def changed(flags: Flags, changes: Mapping[str, Any]) -> Flags:
    """The flags with some values changed; raises `FlagsError` that names what cannot be."""
    short = {name.removeprefix(_strategy_name("")): value for name, value in changes.items()}
    unknown = sorted(set(short) - set(flags.values))
    if unknown:
        raise FlagsError(f"There is no flag {', '.join(unknown)}. The flags are {', '.join(flags.values)}.")
    try:
        after = Flags(**{**flags.values, **short})
    except ValidationError as error:
        raise FlagsError(f"The flags cannot be set so: {_words(error)}.") from error
    if after.legacy_paths_retired and (after.state != "full" or after.dual_write):
        raise FlagsError(
            "Direct writes and dual write are retired (phase 5), so proposals have to stay on for everyone, without dual "
            "write. To open the old paths again, set legacy_paths_retired=false in the same change, with the reason."
        )
    return after


def _refuse_unlocking(row: sa.RowMapping, after: Flags, changes: Mapping[str, Any]) -> None:
    """The lock of phase 5 opens only by its own name: no reset does it in passing."""
    named = {name.removeprefix(_strategy_name("")) for name in changes}
    if _values_of(row).get(RETIRED) is True and not after.legacy_paths_retired and RETIRED not in named:
        raise FlagsError(
            "Direct writes and dual write are retired (phase 5). To open the old paths again, name it: "
            "legacy_paths_retired=false."
        )


def history(connection: sa.Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The latest changes, newest first: when, who, why, what it was and what it became."""
    columns = [audit_log.c[name] for name in ("at", "actor", "reason", "before", "after")]
    query = (
        sa.select(*columns)
        .where(audit_log.c.subject == FLAG_NAME, audit_log.c.action == "set flags")
        .order_by(audit_log.c.id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def changes_since(connection: sa.Connection, version: int) -> list[Flags]:
    """What the flags became with each change after `version`, as the audit log has it."""
    later = audit_log.c.after["version"].as_integer() > version
    query = sa.select(audit_log.c.after).where(
        audit_log.c.subject == FLAG_NAME, audit_log.c.action == "set flags", later
    )
    return [_from_values(after) for after in connection.execute(query.order_by(audit_log.c.id)).scalars()]


def _last_audited_version() -> sa.ColumnElement[int]:
    """So that versions go on where a lost row has ended."""
    latest = (
        sa.select(audit_log.c.after["version"].as_integer())
        .where(audit_log.c.subject == FLAG_NAME, audit_log.c.action == "set flags")
        .order_by(audit_log.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.func.coalesce(latest, 0)


def _row() -> sa.Select[Any]:
    columns = feature_flags.c
    return sa.select(columns.enabled, columns.config, columns.version).where(columns.name == FLAG_NAME)


def _config(flags: Flags) -> dict[str, Any]:
    return {name: value for name, value in flags.values.items() if name != "enabled"}


def _words(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    return "; ".join(f"{item['loc'][0] if item['loc'] else 'row'}: {item['msg'].lower()}" for item in error.errors())
