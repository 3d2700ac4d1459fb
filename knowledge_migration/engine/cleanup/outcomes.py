"""What must hold after phase 5: full cutover was stable and still is, the old paths are shut, the database refuses what they
would write. Each is asked of the database as it is now. Reads only.
"""

from datetime import datetime
from typing import Any

from knowledge_migration.engine.cleanup import completeness
from knowledge_migration.engine.cleanup.retirement import EVIDENCE, overridden_since
from knowledge_migration.engine.cleanup.stability import stability
from knowledge_migration.engine.dual_write.fence import live_writers
from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.check_outcome import CheckOutcome
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.evidence import Evidence
from knowledge_migration.knowledge.flags import FlagsError, read_flags
from knowledge_migration.knowledge.tables import ORIGIN_CONSTRAINTS

MADE_BY = "asset legacy_path_retirement"


def stability_outcome(database: Database, connection: Connection, *, now: datetime | None = None) -> CheckOutcome:
    """Whether full cutover stands as long as the retirement required; or unbroken since that was overridden."""
    found = evidence.require(connection, EVIDENCE, made_by=MADE_BY)
    required_days = float(found.content["stability"]["required_days"])
    now_stable = stability(database, required_days=required_days, now=now)
    overridden = now_stable.obstacle is None and overridden_since(connection, now_stable.since)
    broken = [] if now_stable.holds or overridden else [now_stable.as_json]
    return CheckOutcome(
        name="full_cutover_is_stable",
        count=len(broken),
        sample=tuple(broken),
        description="Full cutover has been stable for as long as it must, without a rollback since, or somebody overrode it.",
        remedy=f"{now_stable.sentence} Find out why; if the old paths are needed again: knowledge-migration cleanup reopen.",
        numbers={"days": round(now_stable.days, 2), "required_days": required_days, "overridden": overridden},
    )


def retired_outcome(database: Database, connection: Connection, *, live_seconds: float) -> CheckOutcome:
    """Whether the lock is set and every live process of the service has seen it."""
    try:
        with database.begin() as transaction:
            flags = read_flags(transaction)
    except FlagsError as error:
        raise PreconditionError(str(error)) from error
    live = live_writers(connection, live_seconds)
    broken: list[dict[str, Any]] = []
    if flags is None or not flags.legacy_paths_retired:
        broken.append({"process": "the flags", "problem": "the old paths are open"})
    version = flags.version if flags else 0
    for row in live:
        if row["flag_version"] < version:
            problem = f"has seen version {row['flag_version']} of {version} only"
            broken.append({"process": row["process"], "problem": problem})
    return CheckOutcome(
        name="old_paths_are_retired",
        count=len(broken),
        sample=tuple(broken[:20]),
        description="Direct writes and dual write are locked, and every live process of the service knows it.",
        remedy="Materialize legacy_path_retirement again; restart or stop the processes named here.",
        numbers={"live_writers": len(live), "flag_version": version},
    )


def completeness_outcome(connection: Connection) -> CheckOutcome:
    """Whether the database refuses rows without a proposal, but for tables that were left out by name."""
    found = evidence.require(connection, EVIDENCE, made_by=MADE_BY)
    states, left_out = completeness.states(connection), _left_out(found)
    broken = [
        {"table": table, "constraint": ORIGIN_CONSTRAINTS[table], "state": state}
        for table, state in states.items()
        if state != "validated" and table not in left_out
    ]
    return CheckOutcome(
        name="every_row_must_come_from_a_proposal",
        count=len(broken),
        sample=tuple(broken),
        description="The database itself refuses a topic or atom without a proposal, proven for every row that is there.",
        remedy="Materialize legacy_path_retirement again: it goes on where it was stopped.",
        numbers={"left_out": ", ".join(sorted(left_out)) or "none"},
    )


def _left_out(found: Evidence) -> frozenset[str]:
    return frozenset(found.content["without"])
