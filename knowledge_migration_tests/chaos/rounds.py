"""One round: the execution of a plan beside users, and the verdict of the judge.

Timing differs between two runs of a seed, the choices do not.
"""

import random
import subprocess
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration.engine.foundation.explanation import explained
from knowledge_migration_tests.chaos import judge, operators, records
from knowledge_migration_tests.chaos.journal import Journal
from knowledge_migration_tests.chaos.places import HELD_ATOMS, Faults, Service, a_database, services, settings_of
from knowledge_migration_tests.chaos.plans import AFTER, Plan, Step
from knowledge_migration_tests.chaos.proposals import PROMISES, promises
from knowledge_migration_tests.chaos.records import TABLES, Complaint, Expected
from knowledge_migration_tests.chaos.reviewer import Reviewer
from knowledge_migration_tests.chaos.sql_writer import SqlWriter
from knowledge_migration_tests.chaos.users import ApiUser, Site, User

ATTEMPTS, PAUSE_SECONDS = 12, 1.0
QUIET_SECONDS = 60.0


@dataclass
class Outcome:
    """What a round did and found."""

    plan: Plan
    complaints: list[Complaint] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Round:
    """One running round."""

    plan: Plan
    server: EmbeddedServer
    database: Database
    folder: Path
    services: list[Service]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.journal = Journal()
        self.outcome = Outcome(self.plan)
        self.expected = Expected(exports=self.folder)
        self.faults = Faults(self.server, self.database, self.services, random.Random(f"faults {self.plan.seed}"))
        self.random = random.Random(f"operators {self.plan.seed}")
        self.decisions = {row_id: self.random.choice(("accept", "clamp", "retry")) for row_id in HELD_ATOMS}
        self.audit: dict[int, str] = {}
        self.state = "legacy"

    def run(self) -> Outcome:
        """Runs the plan beside the users, and judges what is left."""
        started = time.monotonic()
        with records.connect(self.database.conninfo) as connection:
            self.before = records.snapshot(connection)
            people = [int(key) for key in self.before.others["users"]]
            messages = [int(key) for key in self.before.others["messages"]]
        site = Site([one.url for one in self.services], messages, people, self.database.conninfo)
        with self.users(site):
            time.sleep(0.5)
            for number, step in enumerate(self.plan.steps, start=1):
                if not self.step(number, step):
                    break
                time.sleep(0.5)
            self.sql.stop_writing()
        self.settle()
        self.judge()
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    @contextmanager
    def users(self, site: Site) -> Iterator[None]:
        """The users, until the block ends; they complete their open requests."""
        seed = self.plan.seed
        callers = [ApiUser(site, self.journal, f"user {seed}-{number}") for number in range(self.plan.users)]
        keys = [(table, row_id) for table in TABLES for row_id in sorted(self.before.rows[table])]
        for number, key in enumerate(key for key in keys if key[1] not in HELD_ATOMS):
            if number % 2:  # every second row is written by nobody
                callers[number // 2 % len(callers)].rows.append(key)
        self.sql = SqlWriter(site, self.journal, f"writer {seed}")
        reviewer = Reviewer(site, self.journal, f"reviewer {seed}", colleagues=callers)
        everybody: list[User] = [*callers, reviewer, self.sql]
        self.sql.may_write.set()
        for user in everybody:
            user.start()
        try:
            yield
        finally:
            for user in everybody:
                user.over.set()
            for user in everybody:
                user.join(120)
            for user in everybody:
                if user.failure:
                    lines = "".join(traceback.format_exception(user.failure)).strip().splitlines()
                    self.complain("a user fails", f"{user.name}: {' | '.join(lines[-4:])}")
                if user.is_alive():
                    self.complain("a user waits forever", user.name)

    def complain(self, rule: str, what: str) -> None:
        """A complaint about something else than the database."""
        self.outcome.complaints.append(Complaint(rule, what))

    def step(self, number: int, step: Step) -> bool:
        """One action, with its fault, until it has succeeded; False if it never does."""
        if step.action == "phase 2":
            self.sql.stop_writing()
        began = time.monotonic()
        refusals: list[str] = []
        for attempt in range(1, ATTEMPTS + 1):
            fault = step.fault if attempt == 1 else None
            order = self.order(number, step, attempt)
            refusal = self.attempt(step, order, fault)
            if refusal is None:
                break
            refusals.append(refusal)
            time.sleep(PAUSE_SECONDS)
            if step.action == "phase 3" and "asset check" in refusal:
                self.decide_about_quarantine()
        else:
            self.complain("an action succeeds when it is repeated", f"{step.action}: {refusals[-1]}")
        self.say(f"  {number}. {step}: {time.monotonic() - began:.1f} s{self.refused(refusals)}")
        succeeded = len(refusals) < ATTEMPTS
        if succeeded:
            self.reached(number, step)
        return succeeded

    def refused(self, refusals: list[str]) -> str:
        """The refusals of an action, in short, with the number of equal ones."""
        counted = Counter(" ".join(one.split())[:300] for one in refusals)
        return "".join(f"\n       refused {count} times: {one}" for one, count in counted.items())

    def order(self, number: int, step: Step, attempt: int) -> operators.Order:
        """The order of an attempt; each names a new file."""
        export = self.folder / f"proposals_{number}_{attempt}.jsonl"
        return operators.Order(step.action, step.way, self.reason(number), str(export))

    def reason(self, number: int) -> str:
        """The reason of a step in the audit log."""
        return f"chaos {self.plan.seed} step {number}"

    def attempt(self, step: Step, order: operators.Order, fault: str | None) -> str | None:
        """One attempt; why it was refused, or None."""
        kills = fault == "kill the operator"
        with ExitStack() as stack:
            if fault and not kills:
                stack.enter_context(self.meanwhile(fault, step.delay))
            if kills or step.way == "command":  # a process of Dagster needs seconds of CPU to load
                return self.by_process(order, step.delay if kills else None)
            try:
                operators.perform(order, self.random.choice(self.services).url)
            except (MigrationError, operators.RefusedError) as error:
                return f"{type(error).__name__}: {error}"
            except (psycopg.Error, sa.exc.DBAPIError) as error:  # as the commands explain it
                return f"{type(error).__name__}: {explained(error)}"
        return None

    @contextmanager
    def meanwhile(self, fault: str, delay: float) -> Iterator[None]:
        """The fault happens after a delay while the block runs; the block's end waits for it."""
        failures: list[BaseException] = []

        def happen() -> None:
            time.sleep(delay)
            try:
                self.happen(fault)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=happen)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if failures:
            self.complain("a fault can be caused", f"{fault}: {failures[0]!r}")

    def happen(self, fault: str) -> None:
        """Causes a fault, and removes its cause."""
        actions: dict[str, Callable[[], None]] = {
            "kill a service": self.faults.kill_service,
            "restart the server": self.faults.restart_server,
            "kill the server": self.faults.kill_server,
            "kill a session": self.faults.kill_backend,
            "end all sessions": self.faults.end_sessions,
            "pause and resume": self.pause,
        }
        actions[fault]()

    def pause(self) -> None:
        operators.set_paused(paused=True)
        time.sleep(1.5)
        operators.set_paused(paused=False)

    def by_process(self, order: operators.Order, kill_after: float | None) -> str | None:
        """The action as a process, killed some time after its first session if so asked; why it did not succeed, or None."""
        process = subprocess.Popen(
            operators.arguments_of(order), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if kill_after is not None:
            self.faults.operator_session(60, process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(kill_after)
            process.kill()
        try:
            output, _ = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            self.complain("an action ends", f"{order.action} ran for 240 s: {output[-500:]}")
        if "Traceback (most recent call last)" in output:
            self.complain("a command explains its failure", f"{order.action} by {order.way}: {output[-1500:]}")
        if process.returncode == 0:
            return None
        return (
            "killed"
            if kill_after is not None and process.returncode < 0
            else f"exit {process.returncode}: {output[-600:]}"
        )

    def reached(self, number: int, step: Step) -> None:
        """The state after an action, what the judge may expect, and the promises of a rollback."""
        action, expected = step.action, self.expected
        self.state = AFTER[action]
        expected.schema = self.state != "legacy"
        expected.schema_removed |= not expected.schema
        expected.dual_write = self.state not in ("legacy", "schema")
        expected.proposals_on = self.state in ("internal_beta", "gradual_rollout", "full_cutover")
        if action == "phase 3":
            expected.complete = True
        elif action in PROMISES:
            expected.complete = False
        if action.startswith(("rollback", "promote")) and action != "rollback instant":
            expected.reasons.append(self.reason(number))
        if not expected.dual_write:
            self.sql.idle.clear()
            self.sql.may_write.set()
        with records.reconnect(self.database.conninfo) as connection:
            self.outcome.complaints += promises(connection, action)
            self.outcome.complaints += judge.altered_audit(connection, self.audit)
            self.audit = judge.audit_entries(connection)

    def settle(self) -> None:
        """What operators do after a bad day: repair shadows, decide about the quarantine, complete a rollback."""
        if not self.expected.schema:
            return
        self.until_done("repair", lambda: operators.run_command("dual-write", "repair"))
        if self.expected.complete:
            self.decide_about_quarantine()
            self.until_done("completion", operators.complete_again)
        if self.state == "backfilled":  # the API settles in the background
            again = operators.Order("rollback instant", "engine", self.reason(99))
            self.until_done("rollback instant", lambda: operators.perform(again, ""))

    def until_done(self, name: str, work: Callable[[], object]) -> None:
        """Repeats it until it succeeds."""
        refusal = ""
        for _ in range(ATTEMPTS):
            try:
                work()
            except (MigrationError, operators.RefusedError, psycopg.Error, sa.exc.DBAPIError) as error:
                refusal = f"{type(error).__name__}: {error}"
                time.sleep(PAUSE_SECONDS)
            else:
                return
        self.complain("an action succeeds when it is repeated", f"{name}: {refusal}")

    def decide_about_quarantine(self) -> None:
        """Accepts, clamps, or repairs and retries each held row; a backfill or its completion applies it."""
        with records.reconnect(self.database.conninfo) as connection:
            query = "SELECT row_id FROM migration.quarantine WHERE state = 'open' ORDER BY row_id"
            held = [one["row_id"] for one in connection.execute(query)]
        for row_id in held:
            decision = self.decisions.get(row_id, "accept")
            if decision == "retry":
                with psycopg.connect(self.database.conninfo) as session:
                    session.execute("UPDATE atoms SET confidence = 0.5, updated_at = now() WHERE id = %s", (row_id,))
                self.expected.changed_by_operators["atoms", row_id] = {"confidence": 0.5}
            arguments = ("quarantine", "decide", "atom", str(row_id), "--decision", decision, "--note", "chaos")
            self.until_done(f"quarantine {decision}", partial(operators.run_command, *arguments))
            if decision != "retry":
                decided = self.expected.without_proposal if decision == "accept" else self.expected.clamped
                decided.add(("atoms", row_id))

    def judge(self) -> None:
        """The verdict about the database, the requests, and the processes."""
        with records.reconnect(self.database.conninfo) as connection:
            verdict = judge.judge(connection, self.before, self.journal, self.expected)
            self.outcome.complaints += verdict.complaints
            self.outcome.complaints += judge.altered_audit(connection, self.audit)
        self.outcome.checked = verdict.checked
        for at, error in self.journal.errors:
            if not self.faults.covers(at):
                self.complain("no request fails without a fault", error)
        for service in self.services:
            if service.process and service.process.poll() is not None:
                self.complain("a service does not end by itself", service.log.read_text()[-1000:])


def run_round(server: EmbeddedServer, plan: Plan, say: Callable[[str], None], folder: Path | None = None) -> Outcome:
    """One round on a fresh copy of the template; its complaints are in the outcome, and are printed."""
    say(f"round with seed {plan.seed}: {len(plan.steps)} steps, {plan.services} services, {plan.users} users")
    with tempfile.TemporaryDirectory(prefix="kmround_", ignore_cleanup_errors=True) as made:
        home = folder or Path(made)
        home.mkdir(parents=True, exist_ok=True)
        with (
            a_database(server) as database,
            settings_of(database, home),
            services(database, home, plan.services) as running,
        ):
            current = Round(plan, server, database, home, running, say)
            outcome = current.run()
        journal, checked = current.journal, ", ".join(f"{count:,} {name}" for name, count in outcome.checked.items())
        modes = Counter(one.mode for one in journal.extractions)
        say(
            f"  users: {journal.acknowledged:,} acknowledged writes ({', '.join(f'{n} {m}' for m, n in modes.items())} "
            f"extractions, {len(journal.decisions)} decisions), {journal.unanswered} without an answer"
        )
        say(f"  checked in {outcome.seconds:.0f} s: {checked}")
        for line in judge.summarized(outcome.complaints):
            say(f"  COMPLAINT {line}")
        if not outcome.complaints:
            say("  no complaint")
    return outcome
