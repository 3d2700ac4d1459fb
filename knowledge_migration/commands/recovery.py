"""`knowledge-migration recover`: after an accident, each command shows the damage and repairs it (strategy §10.4).

It prints what it would do and asks for confirmation; run again after an interruption, it continues.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from knowledge_migration.commands.terminal import (
    DryRun,
    Reason,
    Yes,
    confirm,
    console,
    open_installation,
    rows_table,
    say,
)
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError

if TYPE_CHECKING:
    from knowledge_migration.knowledge.proposals.approval_recovery import Approval

app = typer.Typer(
    help="After an accident: each command shows the damage and repairs it, audited.", no_args_is_help=True
)

SHOWN = 50
ACTIONS = ("merge", "reject", "leave")

OptionalReason = Annotated[str | None, typer.Option("--reason", help="Why; it is recorded in the audit log.")]


@app.command("flags")
def flags(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Write a lost or damaged row of feature_flags back, with the last audited values.

    Every process of the service follows these values already, and follows the row again within a second.

    Example: knowledge-migration recover flags --reason "row deleted by hand" --dry-run
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.flag_recovery import examine_flags, restore_flags
    from knowledge_migration.knowledge.flags import FlagsError

    database = open_installation().database
    try:
        with database.begin() as transaction:
            state = examine_flags(transaction)
        if state.never_set:
            console.print("The flags were never set, or were removed with the schema; there is nothing to recover.")
            return
        if state.damage is None:
            console.print("The row of the flags exists and is readable; there is nothing to recover.")
            if state.differ:
                console.print(
                    "It was written past the audit log. Compare it with flags history; correct it with flags set."
                )
            return
        console.print(state.damage)
        if state.audited is None:
            raise PreconditionError(
                "The audit log has no flags to restore. Set each flag: knowledge-migration flags set --reset."
            )
        console.print(
            f"Last audited (version {state.audited.version}, state {state.audited.state}): "
            f"{json.dumps(state.audited.values)}"
        )
        if dry_run:
            return
        confirm("Write these back?", yes)
        with database.begin() as transaction:
            after, written = restore_flags(transaction, actor=audit.operator(), reason=reason)
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error
    outcome = "Written back" if written else "It was restored meanwhile"
    console.print(f"{outcome}: version {after.version}, state {after.state}.")


@app.command("ledger")
def ledger(reason: OptionalReason = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Rebuild the backfill's ledger, and the status of the migration's run, from links and proposals.

    The backfill continues without it; the comparison of values needs it. Names the rows that no check can judge any more.

    Examples:

      knowledge-migration recover ledger --dry-run

      knowledge-migration recover ledger --reason "ledger restored from yesterday"
    """
    from knowledge_migration.engine.recovery.ledger import MEANING, RESTORED, examine_ledger, recover_ledger

    database = open_installation().database
    with database.connect("ledger recovery", settings={"statement_timeout": "0"}) as connection:
        report = examine_ledger(connection)
    if report.is_correct:
        console.print("The ledger and the migration's run match links and proposals; nothing to repair.")
        return
    if report.restored:
        raise VerificationError(RESTORED)
    if report.differences:
        shown = report.differences[:SHOWN]
        console.print(rows_table([one.as_row for one in shown]))
        for kind in dict.fromkeys(one.kind for one in report.differences):
            number = sum(one.kind == kind for one in report.differences)
            console.print(f"{number:,} {kind}: {MEANING[kind]}")
    if report.run_is_wrong:
        console.print(f"The migration's run is {report.run_status or 'gone'}; the rows say {report.actual_run_status}.")
    if report.uncertain_rows:
        console.print(
            f"{report.uncertain_rows:,} rows of these batches, or their proposals, were changed since, and no check can tell "
            "which; they are not compared. To compare them, roll the backfill back and run it again."
        )
    if dry_run:
        return
    _confirm(reason, yes, "Repair the ledger?")
    result = recover_ledger(database, reason=reason or "")
    console.print(f"Repaired {len(result.report.differences):,} entries. The comparisons of values:")
    for sentence in result.value_results:
        say(sentence)


def _confirm(reason: str | None, yes: bool, question: str) -> None:
    """Ends the command without a reason or a confirmation."""
    if not (reason or "").strip():
        raise typer.BadParameter("a reason is needed; it is recorded in the audit log", param_hint="--reason")
    confirm(question, yes)


@app.command("duplicates")
def duplicates(reason: OptionalReason = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Merge or reject duplicate pending proposals: the same name and the same text, from repeated extractions.

    The approved one stays, else the oldest; an approved one is never rejected. Repairs as well what a dropped unique index
    allowed: two approved proposals of one row, one proposal of two rows.

    Examples:

      knowledge-migration recover duplicates --dry-run

      knowledge-migration recover duplicates --reason "the extraction was run twice"
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.proposals import duplicate_proposals, link_conflicts
    from knowledge_migration.knowledge.proposals.review import Reviewer

    database = open_installation().database
    with database.begin() as transaction:
        groups = duplicate_proposals.duplicate_groups(transaction)
        claims = link_conflicts.link_conflicts(transaction)
        shared = link_conflicts.shared_origins(transaction)
    if not (groups or claims or shared):
        console.print("No pending proposal is a duplicate of another, and no two approved proposals claim one row.")
        return
    listed = [
        {
            "kind": group.kind.name,
            "name": group.label,
            "stays": f"{group.kept.id} ({group.kept.status})",
            "duplicate": str(one.proposal.id),
            "to do": f"merge into {group.kind.name} {group.kept.entity_id}" if one.action == "merge" else one.action,
            "why": one.why,
        }
        for group in groups
        for one in group.others
    ]
    if listed:
        console.print(rows_table(listed[:SHOWN]))
        done = ", ".join(f"{sum(row['to do'].startswith(word) for row in listed):,} to {word}" for word in ACTIONS)
        console.print(f"{len(listed):,} duplicates: {done}.")
    for claim in claims:
        console.print(
            f"{claim.kind.name} {claim.entity_id} comes from proposal {claim.origin_id}; {claim.proposal_id} claims it "
            "too and is merged into it."
        )
    for one in shared:
        what = f"created {one.created}" if one.created is not None else "created one of them"
        console.print(f"Proposal {one.proposal_id} {what} and is the origin of {', '.join(map(str, one.others))} too.")
    if dry_run:
        return
    _confirm(reason, yes, "Merge and reject these?")
    reviewer = Reviewer(f"{audit.operator()} (recover duplicates)", None, reason)
    counts: Counter[str] = Counter()
    with database.engine() as engine:
        for one, message in link_conflicts.resolve_origins(engine, shared, reviewer):
            console.print(f"{one.proposal_id}: {message}")
        for proposal_id, message in link_conflicts.resolve_claims(engine, claims, reviewer):
            console.print(f"{proposal_id}: {message}")
        for resolved in duplicate_proposals.resolve(engine, groups, reviewer):
            counts[resolved.action] += 1
            if resolved.action == "leave":
                console.print(f"{resolved.proposal_id} left: {resolved.why}")
    console.print(f"Merged {counts['merge']:,}, rejected {counts['reject']:,}, left {counts['leave']:,}.")
    if shared or claims:
        console.print("Build the unique index again (phase 1, job phase_1_schema), then complete the backfill.")


@app.command("approvals")
def approvals(
    run: Annotated[UUID | None, typer.Option(help="Approvals of one extraction run.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Approvals from this time on (ISO 8601; UTC without a zone).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Approvals up to this time.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Only approvals of one reviewer: name or user id.")] = None,
    action: Annotated[str | None, typer.Option(help="Only approve (by a person) or auto_approve.")] = None,
    reason: OptionalReason = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Undo wrong approvals: their proposals wait for review again, their rows are removed.

    Rows that a user has edited since, or that others refer to, stay; so do backfilled and dual-written ones. Run it again
    after an interruption.

    Examples:

      knowledge-migration recover approvals --since 2026-01-31T14:00 --action auto_approve --dry-run

      knowledge-migration recover approvals --run 6f1c… --reason "the model was misled"
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.proposals.approval_recovery import (
        UNDOABLE,
        WrongApprovals,
        find_approvals,
        undo_approvals,
    )
    from knowledge_migration.knowledge.proposals.review import Reviewer

    if run is None and since is None:
        raise typer.BadParameter("give --run ID or --since TIME", param_hint="--run")
    if action not in (None, *UNDOABLE):
        raise typer.BadParameter(f"{action} is none of {', '.join(UNDOABLE)}", param_hint="--action")
    wanted = WrongApprovals(run, _moment(since, "--since"), _moment(until, "--until"), reviewer, action)  # type: ignore[arg-type]
    database = open_installation().database
    with database.begin() as transaction:
        matching = find_approvals(transaction, wanted)
    for why, number in matching.refused.items():
        console.print(f"{number:,} approvals are not undone: {why}.")
    if not matching.approvals:
        console.print("No approval matches; there is nothing to undo.")
        return
    console.print(rows_table([_shown(one) for one in matching.approvals[:SHOWN]]))
    console.print(_fates("Would be", matching.approvals))
    if dry_run or all(one.fate == "kept" for one in matching.approvals):
        return
    _confirm(reason, yes, "Undo these approvals?")
    by = Reviewer(f"{audit.operator()} (recover approvals)", None, reason)
    with database.engine() as engine:
        done = list(undo_approvals(engine, matching.approvals, by))
    for one in done:
        if one.fate == "kept":
            say(f"{one.kind.name} {one.entity_id} ({one.label}) stays: {one.why}")
    console.print(_fates("Now", done))


def _moment(given: str | None, option: str) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} is no time such as 2026-01-31T14:00", param_hint=option) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _shown(one: "Approval") -> dict[str, object]:
    moment = f"{one.reviewed_at:%Y-%m-%d %H:%M:%S}"
    row = f"{one.kind.name} {one.entity_id}" if one.entity_id is not None else "-"
    return {"approved (UTC)": moment, "by": one.action, "row": row, "name": one.label, "fate": one.fate, "why": one.why}


def _fates(verb: str, approvals: "Sequence[Approval]") -> str:
    counts = Counter(one.fate for one in approvals)
    return (
        f"{verb} in review again, its row removed: {counts['removed']:,}; in review again, the row that it matched stays: "
        f"{counts['returned']:,}; kept: {counts['kept']:,}."
    )
