"""Rounds with the capture: sessions write by SQL while phases 2 and 3 run, roll back and run again, and operators are killed.

A round takes seconds, on a copy of a small database after phase 1. The same seed makes the same choices; the timing differs.
"""

import multiprocessing
import os
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy as sa

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.embedded_server import EmbeddedServer
from knowledge_migration.engine.foundation.errors import MigrationError
from knowledge_migration_tests.chaos import captured_judge, records
from knowledge_migration_tests.chaos.judge import summarized
from knowledge_migration_tests.chaos.operators import Order, perform
from knowledge_migration_tests.chaos.proposals import promises
from knowledge_migration_tests.chaos.records import Complaint
from knowledge_migration_tests.chaos.sessions import Session
from knowledge_migration_tests.conftest import EXPANDED_TEMPLATE, cloned
from knowledge_migration_tests.support.environment import ANY_SPEED
from knowledge_migration_tests.support.some_rows import ODD_ROWS

SESSIONS, ATTEMPTS, PAUSE_SECONDS, LONGEST_SECONDS = 8, 60, 0.1, 300.0

NEXT: dict[str, tuple[str, ...]] = {
    "schema": ("phase 2",),
    "dual write": ("phase 3", "phase 3", "phase 2", "rollback dual-write"),
    "backfilled": ("phase 3", "rollback dual-write", "rollback backfill"),
}
AFTER = {
    "phase 2": "dual write",
    "phase 3": "backfilled",
    "rollback dual-write": "schema",
    "rollback backfill": "dual write",
}
FAULTS = ("SIGKILL", "SIGKILL", "end sessions", "end a writer", "cancel", "twice", None, None)

SETTINGS = {
    **ANY_SPEED,
    "MIGRATION_BATCH_SIZE": "50",
    "MIGRATION_RATE_LIMIT_PER_SECOND": "0",
    "MIGRATION_PARTITION_ROWS": "250",
    "DDL_RETRY_MAX_SECONDS": "0.2",
    "DUAL_WRITE_WATCH_SECONDS": "0.3",
    "DUAL_WRITE_FENCE_SECONDS": "20",
}
OURS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'knowledge_migration%'"
WRITERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'session %'"

operators = multiprocessing.get_context("forkserver")
operators.set_forkserver_preload(
    ["__main__", "knowledge_migration.engine.backfill.phase", "knowledge_migration.engine.rollback.dual_write"]
)


@dataclass(frozen=True)
class Step:
    """One action, the fault that its first attempt meets, and when."""

    action: str
    fault: str | None
    delay: float

    def __str__(self) -> str:
        return f"{self.action}{f' ({self.fault} after {self.delay:.2f} s)' if self.fault else ''}"


def steps_of(seed: int) -> tuple[Step, ...]:
    """The walk of a seed; it ends with a complete phase 3, or with everything rolled back."""
    chosen = random.Random(f"captured {seed}")
    state, actions = "schema", list[str]()
    for _ in range(chosen.randint(1, 3)):
        actions.append(chosen.choice(NEXT[state]))
        state = AFTER[actions[-1]]
    forward = chosen.random() < 0.7
    actions += ("phase 2", "phase 3") if forward else ("rollback dual-write", "rollback backfill")
    return tuple(Step(action, chosen.choice(FAULTS), chosen.uniform(0.0, 0.4)) for action in actions)


@dataclass
class Outcome:
    """What a round did and found."""

    complaints: list[Complaint] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)


def _act(order: Order, environment: dict[str, str], answer: Any) -> None:
    """An action in a process of its own; sends why it was refused, "" at success, or a traceback."""
    os.environ.update(environment)
    try:
        perform(order, "")
    except MigrationError as error:
        answer.send(f"{type(error).__name__}: {error}")
    except (psycopg.OperationalError, sa.exc.OperationalError) as error:
        answer.send(f"lost: {error}")
    except BaseException:
        answer.send(traceback.format_exc())
    else:
        answer.send("")


@dataclass
class Round:
    """One running round."""

    database: Database
    seed: int
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.outcome, self.capturing, self.over = Outcome(), threading.Event(), threading.Event()
        self.random = random.Random(f"faults {self.seed}")
        names = [f"{self.seed}-{number}" for number in range(SESSIONS)]
        self.sessions = [Session(self.database.conninfo, name, self.capturing, self.over) for name in names]
        self.environment = {**SETTINGS, "KNOWLEDGE_MIGRATION_DATABASE_URL": self.database.url}
        self.environment["DUAL_WRITE_CAPTURE"] = self.random.choice(("database", "database", "automatic"))
        self.ended = 0

    def complain(self, rule: str, what: str) -> None:
        """A complaint about something else than the database."""
        self.outcome.complaints.append(Complaint(rule, what))

    def run(self) -> Outcome:
        """Runs the steps beside the sessions, and judges what is left."""
        with records.connect(self.database.conninfo) as connection:
            before = records.snapshot(connection)
            for session in self.sessions:
                session.start()
            for step in steps_of(self.seed):
                self.step(step, connection)
            self.over.set()
            for session in self.sessions:
                session.join(LONGEST_SECONDS)
                self.outcome.complaints += [Complaint("no statement fails", one) for one in session.failures]
            complete = step.action == "phase 3"
            if complete:
                self.until_done(Step("sweep", None, 0.0))
            memories = [session.memory for session in self.sessions]
            verdict = captured_judge.judge(connection, before, memories, complete=complete)
        if (ended := sum(session.ended for session in self.sessions)) > self.ended:
            self.complain("no session ends by itself", f"{ended} ended, {self.ended} were ended by the round")
        self.outcome.complaints += verdict.complaints
        self.outcome.checked = verdict.checked
        self.outcome.checked["statements"] = sum(session.statements for session in self.sessions)
        return self.outcome

    def step(self, step: Step, connection: records.Connection) -> None:
        """One action until it has succeeded, and its promises while the sessions write."""
        if step.action == "rollback dual-write":
            self.capturing.clear()
        self.until_done(step)
        if step.action == "phase 2":
            self.capturing.set()
        if step.action == "phase 3":
            self.outcome.complaints += captured_judge.while_writing(connection)
        self.outcome.complaints += promises(connection, step.action)

    def until_done(self, step: Step) -> None:
        """Repeats an action until it succeeds; only its first attempt meets the fault."""
        refusals, began = Counter[str](), time.monotonic()
        for attempt in range(ATTEMPTS):
            refusal = self.attempt(step, step.fault if attempt == 0 else None)
            if not refusal:
                break
            refusals[" ".join(refusal.split())[:300]] += 1
            time.sleep(PAUSE_SECONDS)
        else:
            self.complain("an action succeeds when it is repeated", f"{step}: {refusal[-600:]}")
        listed = "".join(f"\n     refused {count} times: {one}" for one, count in refusals.items())
        self.say(f"  {step}: {time.monotonic() - began:.1f} s{listed}")

    def attempt(self, step: Step, fault: str | None) -> str:
        """One attempt in a process of its own; why it did not succeed."""
        order = Order(step.action, "engine", f"round {self.seed}")
        with self.process(order) as (process, answer):
            if fault == "twice":
                with self.process(order):
                    answer.poll(LONGEST_SECONDS)
            elif fault:
                process.join(step.delay)
                self.happen(fault, process)
            if not answer.poll(LONGEST_SECONDS):
                self.complain("an action ends", str(step))
                return "it does not end"
            try:
                refusal = str(answer.recv())
            except EOFError:
                return "killed"
        if refusal.startswith("Traceback"):
            self.complain("a failure is explained", f"{step}: {refusal[-1500:]}")
        if refusal.startswith("lost:") and not fault:
            self.complain("a connection is lost with a fault only", f"{step}: {refusal[-600:]}")
        return refusal

    @contextmanager
    def process(self, order: Order) -> Iterator[tuple[Any, Any]]:
        """A process that does it, and its answer; it does not outlive the block."""
        answer, given = operators.Pipe(duplex=False)
        process = operators.Process(target=_act, args=(order, self.environment, given), daemon=True)
        process.start()
        given.close()
        try:
            yield process, answer
        finally:
            process.join(LONGEST_SECONDS)
            process.kill()
            process.join()

    def happen(self, fault: str, process: Any) -> None:
        """Causes a fault."""
        with psycopg.connect(self.database.conninfo, autocommit=True, application_name="fault") as connection:
            if fault == "SIGKILL":
                process.kill()
                return
            pids = [pid for (pid,) in connection.execute(WRITERS if fault == "end a writer" else OURS)]
            if fault == "end a writer":
                pids = [self.random.choice(pids)] if pids else []
                self.ended += len(pids)
            action = "pg_cancel_backend" if fault == "cancel" else "pg_terminate_backend"
            for pid in pids:
                connection.execute(f"SELECT {action}(%s)", (pid,))


def run_captured_round(server: EmbeddedServer, seed: int, say: Callable[[str], None]) -> Outcome:
    """One round on a fresh copy of the template; its complaints are in the outcome, and are printed."""
    started = time.monotonic()
    with cloned(server, EXPANDED_TEMPLATE) as database:
        with database.connect("captured round") as connection:
            connection.execute(ODD_ROWS)
            evidence.record(connection, "data_quality", {"findings": []})
            version = connection.info.server_version // 10_000
        say(f"captured round with seed {seed} on PostgreSQL {version}")
        outcome = Round(database, seed, say).run()
    checked = ", ".join(f"{count:,} {name}" for name, count in sorted(outcome.checked.items()))
    say(f"  checked in {time.monotonic() - started:.1f} s: {checked}")
    for line in summarized(outcome.complaints):
        say(f"  COMPLAINT {line}")
    return outcome
