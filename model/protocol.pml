/* The protocol of phases 2 and 3 and of their rollbacks, for the model checker Spin: `make model`.
 *
 * Spin runs the processes below in every possible order and reports the first run in which an assertion is false. How to read it:
 * a `proctype` is a process; `if` and `do` take any branch whose condition is true; a condition that stands alone waits until it
 * is true; `atomic` and `d_step` are done at once, as the commit of a transaction is; `A unless B` leaves A when B becomes true.
 *
 * Bounds: one table with two rows. Row OLD is there before; row NEW is written meanwhile, by the service or by another application.
 * One operator migrates and another one rolls back at the same time. In each run one thing more happens, at any step: a user edits
 * or deletes a row, a third operator repairs a failed shadow, or the migration or the rollback is killed and run again.
 * Not in the model: proposal mode, batches of several rows (each takes its rows by the same rule), values besides one number.
 *
 * Faults that the code has had, or must not get, are switches (make model FAULT=…). The checker finds each of them; the last four
 * were found by this model in the code of that day:
 *   FENCE_BY_HEARTBEATS       the fence waits for the heartbeats of the service and not for open transactions
 *   SKIP_INVISIBLE            the drain skips transactions of roles that it may not see
 *   EMPTY_BATCH_IS_PROGRESS   a batch whose UPDATE links nothing is committed as if it had
 *   LINK_READ_BEFORE_LOCK     a batch decides that a row needs a proposal before it holds the row
 *   ROW_WRITTEN_BACK          a batch writes back the row that it has read before it held it
 *   ROLLBACK_WITHOUT_DRAIN    the rollback of dual write removes its proposals while older transactions are open
 *   SWITCH_OFF_BEFORE_LOCK    the rollback switches dual write off before it knows that no backfill runs
 *   REPAIR_IGNORES_FLAGS      the repair of failed shadows does not read the flags in its transaction
 *   PHASE_2_WITHOUT_LOCK      dual write can be switched on while it is rolled back
 *   ONE_WAITING_PASS          the rollback waits for a row that a user holds once, and does not look again
 */

#ifdef FENCE_BY_HEARTBEATS
#define HEARTBEATS_ONLY 1
#else
#define HEARTBEATS_ONLY 0
#endif
#ifdef SKIP_INVISIBLE
#define SEES_WRITER visible
#else
#define SEES_WRITER true
#endif

#define OLD 0                                    /* the rows */
#define NEW 1
#define WRITER 0                                 /* the transactions that may write proposals */
#define REPAIR 1

mtype = {none, shadow, captured, backfilled, nobody, user, repair, batch, unlinking, migration, rollback}

/* ---- The database: what is committed, and who holds which lock. ---- */

typedef Row {
    bool present;                                /* committed, and not deleted */
    bool deleted;                                /* by a user */
    byte value;                                  /* changed by users only */
    byte acknowledged;                           /* the value that a user was told is stored */
    mtype link = none;                           /* migrated_from_proposal_id: which of the proposals below */
    bool own_id;                                 /* the proposal that the service wrote: a random id */
    mtype derived = none;                        /* the proposal whose id follows from the row: by the capture or the backfill */
    mtype holder = nobody;                       /* of the row lock */
    bool quarantined;                            /* it cannot become a proposal; an operator decides */
    bool failed_shadow, failed_capture;          /* shadow_failure or capture_log has it; a repair or a sweep follows */
};
Row row[2];

bool dual_write;                                 /* feature_flags, with its version */
byte version;
bool capture;                                    /* the triggers */
bool open[2];                                    /* open transactions */
bool wrote;                                      /* whether WRITER holds the table lock of a write */
bool visible;                                    /* whether our role sees the transaction of WRITER in pg_stat_activity */
byte shared_work;                                /* the advisory lock WORK of the backfill: shared, or exclusive */
bool exclusive_work;
byte fence;                                      /* evidence of phase 2: for which version of the flags, */
bool fence_captures;                             /* and whether with the triggers */
bool completed;                                  /* evidence of phase 3, since the fence */

bool other_application;                          /* chosen at the start: whether WRITER is not our service */
bool capture_wanted;                             /* chosen at the start: DUAL_WRITE_CAPTURE=database, or somebody else writes */
bool suppressed;                                 /* chosen at the start: a user's trigger suppresses each UPDATE of row OLD */
mtype killed = nobody;

#define IS_PENDING(r) (row[r].present && row[r].link == none && !row[r].quarantined)
#define ANY_PENDING (IS_PENDING(OLD) || IS_PENDING(NEW))
#define FENCE_IS_PROVEN (dual_write && fence == version && fence_captures == capture)
#define IS_SHADOW(r) (row[r].own_id || row[r].derived == captured)
#define HAS_SHADOW_LINK(r) (row[r].present && (row[r].link == shadow || row[r].link == captured))
#define HAS_BACKFILLED_LINK(r) (row[r].present && row[r].link == backfilled)

/* ---- The properties; each is asserted after every step that could violate it. ---- */

#define COMPLETE(r) (!row[r].present || row[r].link != none || \
    row[r].quarantined || row[r].failed_shadow || row[r].failed_capture)
#define ONE_PROPOSAL(r) !(row[r].own_id && row[r].derived != none)
#define APPROVED_HAS_ITS_ROW(r) (row[r].deleted || \
    ((row[r].own_id -> row[r].link == shadow : true) && (row[r].derived != none -> row[r].link == row[r].derived : true)))
#define NOTHING_LOST(r) (row[r].present -> row[r].value == row[r].acknowledged : row[r].deleted || row[r].acknowledged == 0)

inline check(r) {
    assert(ONE_PROPOSAL(r));                                   /* never two proposals for a row */
    assert(APPROVED_HAS_ITS_ROW(r));                           /* no approved proposal without its row, unless a user deleted it */
    assert(NOTHING_LOST(r));                                   /* no acknowledged write is lost */
    assert(!(completed && FENCE_IS_PROVEN) || COMPLETE(r))     /* after completion every row has a proposal */
}

/* ---- The users of the database. ---- */

/* knowledge.extracting, writing.modes.write_extraction and writing.shadow.in_shadow; or another application, which only inserts. */
proctype Writer() {
    bool shadowing, captures;
#ifdef SKIP_INVISIBLE
    if :: visible = true :: skip fi;
#endif
    open[WRITER] = true;                         /* BEGIN */
    if
    :: other_application
    :: else -> shadowing = dual_write            /* modes.confirmed: the flags are read in the transaction that writes */
    fi;
    d_step {                                     /* INSERT; the trigger of the capture fires in the same statement */
        wrote = true;
        captures = capture && !shadowing         /* shadow.uncaptured: the service writes the proposals itself */
    };
    atomic {
        if
        :: row[NEW].present = true; row[NEW].value = 1; row[NEW].acknowledged = 1;     /* COMMIT: row, proposal, link at once */
           if
           :: shadowing -> row[NEW].own_id = true; row[NEW].link = shadow
           :: shadowing -> row[NEW].failed_shadow = true                               /* only its savepoint is undone */
           :: captures -> row[NEW].derived = captured; row[NEW].link = captured
           :: captures -> row[NEW].failed_capture = true                               /* only the trigger's work is undone */
           :: !shadowing && !captures
           fi;
           check(NEW)
        :: skip                                  /* ROLLBACK, or the process is killed */
        fi;
        open[WRITER] = false; wrote = false; visible = false; shadowing = false; captures = false
    }
}

/* knowledge.entities.change_entity and delete_atom, or any other statement of a user's. */
proctype User() {
    byte r;
    if :: r = OLD :: r = NEW fi;
end_without_row:                                 /* it may wait for a row for ever */
    atomic { row[r].present && row[r].holder == nobody -> row[r].holder = user };
    atomic {
        if
        :: row[r].value++; row[r].acknowledged = row[r].value
        :: row[r].present = false; row[r].deleted = true; row[r].link = none
        :: skip                                  /* ROLLBACK */
        fi;
        row[r].holder = nobody;
        check(r);
        r = 0
    }
}

/* commands.service.repair and writing.shadow.repair_next: an operator writes the proposals of failed shadows. */
proctype Repair() {
    bool allowed;
    open[REPAIR] = true;
#ifdef REPAIR_IGNORES_FLAGS
    allowed = true;
#else
    allowed = dual_write;                        /* read in its transaction, so that a drain waits for it */
#endif
    if
    :: atomic {
           allowed && row[NEW].failed_shadow && row[NEW].present && row[NEW].link == none && row[NEW].holder == nobody ->
           row[NEW].holder = repair
       };
       atomic {
           row[NEW].own_id = true; row[NEW].link = shadow; row[NEW].failed_shadow = false;
           row[NEW].holder = nobody;
           check(NEW)
       }
    :: skip                                      /* nothing to repair, or killed */
    fi;
    d_step { open[REPAIR] = false; allowed = false }
}

/* ---- Steps that the operators share. ---- */

inline free_rows(session) {
    if :: row[OLD].holder == session -> row[OLD].holder = nobody :: else fi;
    if :: row[NEW].holder == session -> row[NEW].holder = nobody :: else fi
}

/* dual_write.fence.wait_until_fenced. writers.wait_until_acknowledged is a pause of any length, because a process acknowledges
   whatever its transactions do; writers.drain follows. */
inline wait_until_fenced(drains) {
    if
    :: drains && !HEARTBEATS_ONLY ->
       d_step { older[WRITER] = open[WRITER] && SEES_WRITER; older[REPAIR] = open[REPAIR] };   /* writers._open_transactions */
       atomic {
           (!older[WRITER] || !open[WRITER]) && (!older[REPAIR] || !open[REPAIR]) ->
           older[WRITER] = false; older[REPAIR] = false
       }
    :: else
    fi
}

/* foundation.advisory_lock: does not wait; it refuses the second one, which changes nothing. */
inline share_work() {
    if :: atomic { !exclusive_work -> shared_work++; holds_work = true } :: exclusive_work -> goto refused fi
}
inline release_work() {
    if
    :: holds_work -> shared_work--; holds_work = false
    :: else
    fi
}

/* defs.guards: the requirement "dual write" of each asset of phase 3; fence.proven_fence. */
inline require_fence() {
    if :: FENCE_IS_PROVEN :: else -> goto refused fi
}

/* ---- The migration: phase 2, then phase 3. Killed anywhere, an operator runs it again from the beginning. ---- */

/* backfill.batch: the statement locks a row, and in one commit inserts its proposal and links it. */
inline batch_of(r) {
    atomic {
        if
        :: suppressed && r == OLD && row[r].present ->
#ifdef EMPTY_BATCH_IS_PROGRESS
           row[r].derived = backfilled
#else
           row[r].quarantined = true             /* migration.require_linked raises; run_single_row sets the row aside */
#endif
        :: else ->
           row[r].derived = (row[r].derived == none -> backfilled : row[r].derived);
           row[r].link = row[r].derived
#ifdef ROW_WRITTEN_BACK
           ; row[r].value = value_read
#endif
        fi;
        row[r].holder = nobody;
        check(r)
    }
}

/* batch.run_batch with FOR NO KEY UPDATE SKIP LOCKED, and run_single_row, which waits; both look again once they hold the row. */
inline take(r, skips) {
#ifdef ROW_WRITTEN_BACK
    value_read = row[r].value;
#endif
    if
#ifdef LINK_READ_BEFORE_LOCK
    :: IS_PENDING(r) -> atomic { row[r].holder == nobody -> row[r].holder = batch }; batch_of(r)
    :: else
#else
    :: atomic { IS_PENDING(r) && row[r].holder == nobody -> row[r].holder = batch }; batch_of(r)
    :: !IS_PENDING(r) || (skips && row[r].holder != nobody)
#endif
    fi
}

/* backfill.runner._PartitionRun.complete: passes that skip the rows that users hold, then a wait for one row. */
inline backfill_partition(through) {
    do
    :: take(OLD, true);
       if :: through == NEW -> take(NEW, true) :: else fi;
       if
       :: IS_PENDING(OLD) -> take(OLD, false)
       :: !IS_PENDING(OLD) && through == NEW && IS_PENDING(NEW) -> take(NEW, false)
       :: else -> break
       fi
    od
}

proctype Migration() {
    byte flags, upper, value_read;
    bool holds_work, older[2];
begin:
    {
        /* dual_write.switch.switch_on */
#ifndef PHASE_2_WITHOUT_LOCK
        share_work();
#endif
        d_step { if :: !dual_write -> dual_write = true; version++ :: else fi };
        flags = version;
        wait_until_fenced(true);
        if
        :: capture_wanted -> atomic { !wrote -> capture = true }       /* schema.capture.install: SHARE ROW EXCLUSIVE */
        :: else
        fi;
        d_step { fence = flags; fence_captures = capture_wanted; completed = false };   /* fence.record */
        atomic { release_work() };

        /* backfill.phase.plan_backfill: the bound is the last id */
        require_fence();
        upper = (row[NEW].present -> NEW : OLD);

        /* backfill.runner.backfill_partition */
        require_fence();
        share_work();
        backfill_partition(upper);
        atomic { release_work() };

        /* backfill.completion.complete: the final sweep */
        require_fence();
        share_work();
        do :: ANY_PENDING -> backfill_partition(NEW) :: else -> break od;
        atomic { completed = true; check(OLD); check(NEW) };                    /* close_run */
refused:
        atomic { release_work() };
        goto ended
    } unless {
        atomic {                                 /* the server ends its session: no lock, no transaction */
            killed == migration -> killed = nobody; release_work();
            free_rows(batch); flags = 0; upper = 0; older[WRITER] = false; older[REPAIR] = false
        };
        goto begin
    };
ended:
    skip
}

/* ---- The rollbacks. Killed anywhere, an operator runs them again. ---- */

/* sql/rollback.sql dual_write_batch: one statement, which unlinks the row and deletes the proposal that its snapshot has seen. */
inline remove_shadow(r) {
    had_link = HAS_SHADOW_LINK(r);               /* the snapshot of the statement */
    if
    :: atomic { IS_SHADOW(r) && row[r].holder == nobody -> row[r].holder = unlinking };
       atomic {
           if
           :: HAS_SHADOW_LINK(r) || !had_link -> /* the row is locked, or was gone already: its proposal is free */
              row[r].own_id = false; row[r].derived = (row[r].derived == captured -> none : row[r].derived);
              row[r].link = (HAS_SHADOW_LINK(r) -> none : row[r].link)
           :: else                               /* deleted while the statement waited: the snapshot still shows the row */
           fi;
           row[r].holder = nobody;
           check(r)
       }
    :: !IS_SHADOW(r)
    fi
}

/* rollback.backfill.rollback_backfill: the same with the proposals of the migration's run, until none is left. */
inline remove_backfilled(r) {
    if
    :: atomic { row[r].derived == backfilled && row[r].holder == nobody -> row[r].holder = unlinking };
       atomic {
           row[r].derived = none; row[r].link = (row[r].link == backfilled -> none : row[r].link);
           row[r].holder = nobody;
           check(r)
       }
    :: row[r].derived != backfilled
    fi
}

#define SHADOWS_LEFT (IS_SHADOW(OLD) || IS_SHADOW(NEW))

proctype Rollback() {
    bool had_link, of_dual_write, of_backfill, older[2];
    if :: of_dual_write = true :: of_backfill = true :: of_dual_write = true; of_backfill = true :: goto ended fi;
begin:
    {
        if
        :: of_dual_write ->                      /* rollback.dual_write.rollback_dual_write */
#ifdef SWITCH_OFF_BEFORE_LOCK
           d_step { if :: dual_write -> dual_write = false; version++ :: else fi };
#endif
           if
           :: atomic { shared_work == 0 && !exclusive_work -> exclusive_work = true }
           :: shared_work > 0 -> goto refused
           fi;
#ifndef SWITCH_OFF_BEFORE_LOCK
           d_step { if :: dual_write -> dual_write = false; version++ :: else fi };
#endif
#ifdef ROLLBACK_WITHOUT_DRAIN
           wait_until_fenced(false);
#else
           wait_until_fenced(true);
#endif
           atomic { !wrote -> capture = false };                   /* schema.capture.remove: ACCESS EXCLUSIVE */
           do
           :: remove_shadow(OLD); remove_shadow(NEW);
#ifdef ONE_WAITING_PASS
              break
#else
              if :: SHADOWS_LEFT :: else -> break fi
#endif
           od;
           atomic {
               assert(!HAS_SHADOW_LINK(OLD) && !HAS_SHADOW_LINK(NEW));    /* after a rollback no link remains */
               assert(!SHADOWS_LEFT);                    /* after a rollback none of its proposals remains */
               exclusive_work = false
           }
        :: else
        fi;
        if
        :: of_backfill ->
           if
           :: atomic { shared_work == 0 && !exclusive_work -> exclusive_work = true }
           :: shared_work > 0 -> goto refused
           fi;
           completed = false;                    /* audited: ROLLBACK_BACKFILL_BEGUN; at the end the run is deleted */
           remove_backfilled(OLD); remove_backfilled(NEW);
           atomic {
               assert(!HAS_BACKFILLED_LINK(OLD) && !HAS_BACKFILLED_LINK(NEW));    /* after a rollback no link remains */
               assert(row[OLD].derived != backfilled && row[NEW].derived != backfilled);    /* after a rollback none of its proposals remains */
               exclusive_work = false
           }
        :: else
        fi;
refused:
        exclusive_work = false;
        goto ended
    } unless {
        atomic {
            killed == rollback -> killed = nobody; exclusive_work = false;
            free_rows(unlinking); had_link = false; older[WRITER] = false; older[REPAIR] = false
        };
        goto begin
    };
ended:
    skip
}

/* kill -9, or a lost connection, at any step. A killed writer or user is a transaction that is rolled back. */
proctype Kill() {
    if :: killed = migration :: killed = rollback :: skip fi
}

init {
    atomic {
        row[OLD].present = true; row[OLD].value = 1; row[OLD].acknowledged = 1;
        if
        :: skip
        :: capture_wanted = true
        :: capture_wanted = true; other_application = true
        :: suppressed = true
        fi;
        run Writer(); run Migration(); run Rollback();
        if :: run User() :: run Repair() :: run Kill() fi
    }
}
