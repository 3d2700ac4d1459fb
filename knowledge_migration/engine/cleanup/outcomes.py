"""The checks of phase 5 against the current database: full cutover is stable, the old paths are shut, rows need a proposal.

Reads only.
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
from knowledge_migration.engine.foundation.errors import translate_knowledge_errors
from knowledge_migration.knowledge.flags import read_flags
from knowledge_migration.knowledge.tables import ORIGIN_CONSTRAINTS

MADE_BY = "asset legacy_path_retirement"


def stability_outcome(database: Database, connection: Connection, *, now: datetime | None = None) -> CheckOutcome:
    """Full cutover is stable for as long as the retirement required, or unbroken since an operator overrode that."""
    retirement = evidence.require(connection, EVIDENCE, made_by=MADE_BY)
    required_days = float(retirement.content["stability"]["required_days"])
    current = stability(database, required_days=required_days, now=now)
    overridden = current.obstacle is None and overridden_since(connection, current.since)
    broken = [] if current.is_reached or overridden else [current.as_json]
    return CheckOutcome(
        name="full_cutover_is_stable",
        count=len(broken),
        sample=tuple(broken),
        description="Full cutover has been stable for the required days without a rollback, or an operator overrode that.",
        remedy=f"{current.sentence} Find the cause; if the old paths are needed again: knowledge-migration cleanup reopen.",
        numbers={"days": round(current.days, 2), "required_days": required_days, "overridden": overridden},
    )


def retired_outcome(database: Database, connection: Connection, *, live_seconds: float) -> CheckOutcome:
    """The lock is set, and every live process of the service has acknowledged it."""
    with translate_knowledge_errors(), database.begin() as transaction:
        flags = read_flags(transaction)
    live = live_writers(connection, live_seconds)
    broken: list[dict[str, Any]] = []
    if flags is None or not flags.legacy_paths_retired:
        broken.append({"process": "the flags", "problem": "the old paths are open"})
    version = flags.version if flags else 0
    for row in live:
        if row["flag_version"] < version:
            broken.append(
                {"process": row["process"], "problem": f"acknowledged version {row['flag_version']} of {version}"}
            )
    return CheckOutcome(
        name="old_paths_are_retired",
        count=len(broken),
        sample=tuple(broken[:20]),
        description="Direct writes and dual write are locked, and every live process of the service has acknowledged it.",
        remedy="Materialize legacy_path_retirement again; restart or stop the processes named here.",
        numbers={"live_writers": len(live), "flag_version": version},
    )


def completeness_outcome(connection: Connection) -> CheckOutcome:
    """The database refuses rows without a proposal, except in tables that were left out by name."""
    left_out = frozenset(evidence.require(connection, EVIDENCE, made_by=MADE_BY).content["without"])
    broken = [
        {"table": table, "constraint": ORIGIN_CONSTRAINTS[table], "state": state}
        for table, state in completeness.states(connection).items()
        if state != "validated" and table not in left_out
    ]
    return CheckOutcome(
        name="every_row_must_come_from_a_proposal",
        count=len(broken),
        sample=tuple(broken),
        description="The database refuses a topic or atom without a proposal, and has validated that for every existing row.",
        remedy="Materialize legacy_path_retirement again: it resumes where it stopped.",
        numbers={"left_out": ", ".join(sorted(left_out)) or "none"},
    )
