"""The threshold table of the cutover: every threshold of strategy §6.4, §8.1, §9.3 and §11.1, once.

Single values are changed by CUTOVER_GATES, a JSON object of metric names: {"api_error_rate": {"minimum_sample": 1000}}.
Where the strategy has several values for one thing (errors < 1 % and > 5 %; slower < 20 % and > 50 %), the first promotes
and the second is a breach, looked at over the last minutes only (ERRATA C15). `slow …` are the strategy's p95 limits: p95
is within a limit when at most 5 % of the requests are beyond it, and a share has a confidence interval.
"""

from knowledge_migration.engine.cutover.gates import Gate
from knowledge_migration.knowledge.stages import STAGES, Stage

DAY, HOUR = 24 * 60.0, 60.0
PROPOSALS_FLOW = STAGES[1:]
"""Promotions before which some users' extractions are proposals already."""

GATES: tuple[Gate, ...] = (
    Gate(
        "api_error_rate", "at most", 0.01, "of requests", HOUR, 400, 3, STAGES, "§6.4, §8.1, §11.1",
        "Requests that failed through no fault of the caller, of all users.",
        breach=0.05, on_breach="instant", breach_sample=100,
    ),
    Gate(
        "proposal_error_rate", "at most", 0.05, "of extractions", DAY, 75, 3, PROPOSALS_FLOW, "§8.1",
        "Extractions in proposal mode that failed: reads would hide them among all requests.",
        breach=0.05, on_breach="instant",
    ),
    Gate(
        "extraction_slowdown", "at most", 1.2, "times direct or dual write", DAY, 50, 3, PROPOSALS_FLOW, "§6.4, §8.1, §11.1",
        "How long extractions in proposal mode take, against the other users' of the same time, else against the last ones.",
        breach=1.5, on_breach="partial", breach_window_minutes=30,
    ),
    Gate(
        "slow_extractions", "at most", 0.05, "of extractions", DAY, 75, 3, STAGES, "§9.3",
        "Extractions that took longer than 2 s, in any mode.", limit_seconds=2.0,
    ),
    Gate(
        "slow_proposal_lists", "at most", 0.05, "of queries", HOUR, 75, 1, STAGES, "§9.3, §11.1",
        "Pages of the review queue that took longer than 100 ms, asked for now.", limit_seconds=0.1,
    ),
    Gate(
        "slow_run_histories", "at most", 0.05, "of queries", HOUR, 75, 1, STAGES, "§9.3",
        "Pages of the run history that took longer than 200 ms, asked for now.", limit_seconds=0.2,
    ),
    Gate(
        "slow_similarity_lists", "at most", 0.05, "of queries", HOUR, 75, 1, STAGES, "§9.3",
        "Pages of similar proposals that took longer than 500 ms, asked for now.", limit_seconds=0.5,
    ),
    Gate(
        "slow_review_pages", "at most", 0.05, "of requests", DAY, 20, 1, (), "§11.1",
        "Loads of the review page that took longer than 2 s.", limit_seconds=2.0,
    ),
    Gate(
        "pool_exhaustion", "at most", 0, "requests", DAY, 100, 1, STAGES, "§9.3, §11.1",
        "Requests that got no connection to the database in time.",
    ),
    Gate(
        "inconsistencies", "at most", 0, "rows", DAY, 1, 3, STAGES, "§8.1, §11.1",
        "Knowledge without its proposal, approved proposals without their knowledge, extractions without their proposals.",
        breach=0, on_breach="instant", breach_window_minutes=DAY, breach_sample=1,
    ),
    Gate(
        "open_shadow_failures", "at most", 0, "extractions", DAY, 0, 1, STAGES, "§4.2",
        "Direct writes whose proposals could not be written and are not repaired.",
    ),
    Gate(
        "queue_depth", "at most", 1_000, "proposals", HOUR, 0, 3, STAGES, "§6.4, §8.1",
        "Proposals that wait for review now.", breach=1_000, on_breach="lower threshold", breach_sample=0,
    ),
    Gate(
        "auto_approval_rate", "between", 0.5, "of proposals", DAY, 100, 1, (), "§6.4, §11.1",
        "Proposals of proposal mode that needed no reviewer.", upper=0.7,
    ),
    Gate(
        "review_seconds", "at most", 30, "seconds", 7 * DAY, 20, 1, (), "§6.4",
        "From one decision of a reviewer to the next, the median of those less than ten minutes apart.",
    ),
    Gate(
        "proposals_per_message", "between", 0.8, "times dual write", DAY, 50, 1, (), "§6.4",
        "Proposals made of a message in proposal mode, against dual write: as many as before.", upper=1.25,
    ),
)  # fmt: skip

BAKE_MINUTES: dict[Stage, float] = {"internal_beta": DAY, "gradual_rollout": DAY, "full_cutover": DAY}
"""How long the state before must have stood when a stage is promoted to: dual write, then a day per stage (§6.1)."""
