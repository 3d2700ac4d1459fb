"""`knowledge-migration recover` and `backfill status`: after an accident, what is broken, and what mends it (strategy §10.4).

Each command shows what it has found and what it would do, and asks before it does it; run again it goes on from there.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from knowledge_migration.commands.setup import DryRun, Reason, Yes, console, open_installation
from knowledge_migration.engine.foundation.errors import PreconditionError, VerificationError

if TYPE_CHECKING:
    from knowledge_migration.knowledge.proposals.approval_recovery import Approval

app = typer.Typer(
    help="After an accident: each command shows what is broken and mends it, audited.", no_args_is_help=True
)

SHOWN = 50
ACTIONS = ("merge", "reject", "leave")

OptionalReason = Annotated[str | None, typer.Option("--reason", help="Why; it goes to the audit log.")]


@app.command("flags")
def flags(reason: Reason, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Write a lost or damaged row of feature_flags back, as the audit log last had it.

    Every process of the service obeys those flags already, and obeys the row again within a second.

    Example: knowledge-migration recover flags --reason "row deleted by hand" --dry-run
    """
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.flag_recovery import examine_flags, restore_flags
    from knowledge_migration.knowledge.flags import FlagsError

    installation = open_installation()
    try:
        with installation.database.begin() as transaction:
            found = examine_flags(transaction)
        if found.never_set:
            console.print(
                "Nobody has set the flags, or they were given up with the schema; there is nothing to recover."
            )
            return
        if found.damage is None:
            console.print("The row of the flags is there and can be read; there is nothing to recover.")
            if found.differ:
                console.print(
                    "Somebody has written it past the audit log. What it should say: flags history, flags set."
                )
            return
        console.print(found.damage)
        if found.audited is None:
            raise PreconditionError(
                "The audit log has no flags to restore. Set each flag: knowledge-migration flags set --reset."
            )
        console.print(
            f"Last audited (version {found.audited.version}, state {found.audited.state}): "
            f"{json.dumps(found.audited.values)}"
        )
        if dry_run:
            return
        if not yes:
            typer.confirm("Write these back?", abort=True)
        with installation.database.begin() as transaction:
            after, written = restore_flags(transaction, actor=audit.operator(), reason=reason)
    except FlagsError as error:
        raise PreconditionError(f"{error} Nothing was changed.") from error
    said = "Written back" if written else "Somebody else has mended it meanwhile"
    console.print(f"{said}: version {after.version}, state {after.state}.")


def backfill_status() -> None:
    """Show how far the backfill is, by the rows themselves: linked or not, partitions done, quarantine, who runs it now.

    Example: knowledge-migration backfill status
    """
    from rich.table import Table

    from knowledge_migration.engine.status.backfill import backfill_status as read_status

    installation = open_installation()
    with installation.database.connect("backfill status") as connection:
        now = read_status(connection)
    table = Table("table", "linked", "unlinked", "partitions done", "quarantine open", "to retry", "accepted")
    for one in now.tables:
        parts = "no plan yet" if one.partitions is None else f"{one.partitions_done} of {one.partitions}"
        counts = (one.quarantine_open, one.quarantine_retry, one.quarantine_accepted)
        table.add_row(one.table, f"{one.linked:,}", f"{one.unlinked:,}", parts, *(f"{count:,}" for count in counts))
    console.print(table)
    moments = [
        f"{word} {moment:%Y-%m-%d %H:%M:%S} UTC"
        for word, moment in (("begun", now.started_at), ("completed", now.completed_at))
        if moment
    ]
    console.print(f"The migration's run: {', '.join([now.run or 'never begun', *moments])}")
    for runner in now.runners:
        doing = "rolls back" if runner.rolls_back else "runs"
        console.print(
            f"{doing} now: pid {runner.pid}, {runner.application}, since {runner.since:%Y-%m-%d %H:%M:%S} UTC"
        )
    if not now.runners:
        console.print("No runner is alive.")
    console.print(now.next_step)


@app.command("ledger")
def ledger(reason: OptionalReason = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Make the backfill's ledger say again what links and proposals tell, and the migration's run too.

    The backfill goes on without it; the comparison of values needs it. Says what no check can judge any more.

    Examples:

      knowledge-migration recover ledger --dry-run

      knowledge-migration recover ledger --reason "ledger restored from yesterday"
    """
    from knowledge_migration.commands.migrate import rows_table
    from knowledge_migration.engine.recovery.ledger import MEANING, RESTORED, examine_ledger, recover_ledger

    installation = open_installation()
    with installation.database.connect("ledger recovery", settings={"statement_timeout": "0"}) as connection:
        report = examine_ledger(connection)
    if report.is_correct:
        console.print(
            "The ledger says what links and proposals tell, and so does the migration's run; nothing to mend."
        )
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
            f"{report.uncertain_rows:,} rows of these batches were written to since, or their proposal was, and no check can "
            "tell which any more; they are not compared. To compare them: roll the backfill back and run it again."
        )
    if dry_run:
        return
    _confirm(reason, yes, "Mend the ledger?")
    done = recover_ledger(installation.database, reason=reason or "")
    console.print(f"Mended {len(done.report.differences):,} entries. The comparisons of values now say:")
    for sentence in done.value_results:
        console.print(sentence, markup=False)


def _confirm(reason: str | None, yes: bool, question: str) -> None:
    """The reason and the operator's yes; without either the command ends here."""
    if not (reason or "").strip():
        raise typer.BadParameter("a reason is needed; it goes to the audit log", param_hint="--reason")
    if not yes:
        typer.confirm(question, abort=True)


@app.command("duplicates")
def duplicates(reason: OptionalReason = None, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Merge or reject pending proposals of the same thing: the same name and the same text, from repeated extractions.

    The one that is approved stays, else the oldest; an approved one is never rejected. Mends as well what a dropped unique
    index allowed: two approved proposals of one row, one proposal of two rows.

    Examples:

      knowledge-migration recover duplicates --dry-run

      knowledge-migration recover duplicates --reason "the extraction was run twice"
    """
    from knowledge_migration.commands.migrate import rows_table
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.proposals import duplicate_proposals, link_conflicts
    from knowledge_migration.knowledge.proposals.review import Reviewer

    installation = open_installation()
    with installation.database.begin() as transaction:
        groups = duplicate_proposals.duplicate_groups(transaction)
        claims = link_conflicts.link_conflicts(transaction)
        shared = link_conflicts.shared_origins(transaction)
    if not (groups or claims or shared):
        console.print("No pending proposal is a duplicate of another, and no two approved ones claim the same row.")
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
            f"{claim.kind.name} {claim.entity_id} was made by proposal {claim.origin_id}; {claim.proposal_id} says that it "
            "made it too: to be merged into it."
        )
    for one in shared:
        what = f"created {one.created}" if one.created is not None else "created one of them"
        console.print(f"Proposal {one.proposal_id} {what} and is the origin of {', '.join(map(str, one.others))} too.")
    if dry_run:
        return
    _confirm(reason, yes, "Merge and reject these?")
    reviewer = Reviewer(f"{audit.operator()} (recover duplicates)", None, reason)
    counts: Counter[str] = Counter()
    with installation.database.engine() as engine:
        for one, words in link_conflicts.resolve_origins(engine, shared, reviewer):
            console.print(f"{one.proposal_id}: {words}")
        for proposal_id, words in link_conflicts.resolve_claims(engine, claims, reviewer):
            console.print(f"{proposal_id}: {words}")
        for resolved in duplicate_proposals.resolve(engine, groups, reviewer):
            counts[resolved.action] += 1
            if resolved.action == "leave":
                console.print(f"{resolved.proposal_id} left: {resolved.why}")
    console.print(f"Merged {counts['merge']:,}, rejected {counts['reject']:,}, left {counts['leave']:,}.")
    if shared or claims:
        console.print("Build the unique index again (phase 1, job phase_1_schema), then complete the backfill.")


@app.command("approvals")
def approvals(
    run: Annotated[UUID | None, typer.Option(help="Those of one extraction run.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Those from this time on (ISO 8601; UTC if it says no zone).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Those up to this time.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Only those of one reviewer: name or user id.")] = None,
    action: Annotated[str | None, typer.Option(help="Only approve (by a person) or auto_approve.")] = None,
    reason: OptionalReason = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Take back approvals that should not have been: their rows are withdrawn, the proposals are kept.

    Rows that a user has edited since, or to which something refers, stay; so do backfilled and dual-written ones. Undone
    one by one; run it again after an interruption.

    Examples:

      knowledge-migration recover approvals --since 2026-01-31T14:00 --action auto_approve --dry-run

      knowledge-migration recover approvals --run 6f1c… --reason "the model was misled"
    """
    from knowledge_migration.commands.migrate import rows_table
    from knowledge_migration.engine.foundation import audit
    from knowledge_migration.knowledge.proposals.approval_recovery import (
        UNDOABLE,
        WrongApprovals,
        find_approvals,
        undo_approvals,
    )
    from knowledge_migration.knowledge.proposals.review import Reviewer

    if run is None and since is None:
        raise typer.BadParameter("say which: --run ID, or --since TIME", param_hint="--run")
    if action not in (None, *UNDOABLE):
        raise typer.BadParameter(f"{action} is none of {', '.join(UNDOABLE)}", param_hint="--action")
    wanted = WrongApprovals(run, _moment(since, "--since"), _moment(until, "--until"), reviewer, action)  # type: ignore[arg-type]
    installation = open_installation()
    with installation.database.begin() as transaction:
        found = find_approvals(transaction, wanted)
    for why, number in found.refused.items():
        console.print(f"{number:,} approved proposals are not taken back: {why}.")
    if not found.approvals:
        console.print("No approval is meant by that; there is nothing to take back.")
        return
    console.print(rows_table([_shown(one) for one in found.approvals[:SHOWN]]))
    console.print(_fates("Would be", found.approvals))
    if dry_run or all(one.fate == "kept" for one in found.approvals):
        return
    _confirm(reason, yes, "Take these approvals back?")
    by = Reviewer(f"{audit.operator()} (recover approvals)", None, reason)
    with installation.database.engine() as engine:
        done = list(undo_approvals(engine, found.approvals, by))
    for one in done:
        if one.fate == "kept":
            console.print(f"{one.kind.name} {one.entity_id} ({one.label}) stays: {one.why}", markup=False)
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
        f"{verb} withdrawn with its row: {counts['withdrawn']:,}; back in review, the row that it matched stays: "
        f"{counts['returned']:,}; kept: {counts['kept']:,}."
    )
