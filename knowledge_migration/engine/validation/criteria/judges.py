"""The ways to judge a criterion: by rules, evidence, a gate, a check, the running service, or a person."""

from collections.abc import Callable
from typing import Any

import httpx

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.preparation.legacy_snapshot import backup_outcome
from knowledge_migration.engine.validation.criteria.facts import Facts, Judge, Judgement, Verdict
from knowledge_migration.engine.validation.service import health

REVIEW_PAGE_SECONDS = 30.0
DAYS = 7
VERDICTS: dict[str, Verdict] = {"pass": "met", "fail": "not met"}
"""Of a gate or a scenario; inconclusive is no evidence."""


def by_rules(*names: str, over: tuple[str, ...]) -> Judge:
    """Each of these integrity rules is satisfied now; no evidence while all tables of `over` are empty."""

    def judge(facts: Facts) -> Judgement:
        if not any(_has_rows(facts, table) for table in over):
            raise PreconditionError(f"{' and '.join(over)} have no row yet.")
        outcomes = [facts.rule(name) for name in names]
        violated = [outcome.sentence for outcome in outcomes if not outcome.passed]
        message = " ".join(violated or [outcome.description for outcome in outcomes])
        return Judgement.of(not violated, message, f"rule {', '.join(names)}")

    return judge


def _has_rows(facts: Facts, table: str) -> bool:
    return facts.connection.execute(statement("demo/any_row", table=table)).fetchone() is not None


def by_check(*names: str) -> Judge:
    """The latest evaluation of each of these asset checks passed."""

    def judge(facts: Facts) -> Judgement:
        records = [facts.check(name) for name in names]
        failed = [record for record in records if not record.succeeded]
        message = " ".join(record.message for record in failed or records)
        at = min(record.at for record in records if record.at)
        return Judgement.of(not failed, message, f"check {', '.join(names)}", at)

    return judge


def by_gate(metric: str) -> Judge:
    """The last verdict of a gate."""

    def judge(facts: Facts) -> Judgement:
        last = facts.gate(metric)
        gate = next(one for one in facts.settings.cutover.gates if one.metric == metric)
        value = "no value" if last.value is None else f"value {last.value:.4g}"
        message = (
            f"{gate.meaning} {value}, limit {gate.limit}, sample {last.sample_size:,}, at {last.stage}: {last.verdict}."
        )
        return Judgement(VERDICTS.get(last.verdict, "no evidence yet"), message, f"gate {metric}", last.at)

    return judge


def by_scenario(name: str) -> Judge:
    """A scenario of the functional validation of the running service."""

    def judge(facts: Facts) -> Judgement:
        recorded = facts.evidence("functional_validation")
        result = next((one for one in recorded.content["scenarios"] if one["name"] == name), None)
        if result is None:
            raise PreconditionError(f"The scenario {name} was not run. Materialize asset functional_validation.")
        verdict = VERDICTS.get(result["verdict"], "no evidence yet")
        return Judgement(verdict, result["message"], "asset functional_validation", recorded.recorded_at)

    return judge


def by_person(question: str) -> Judge:
    """Only a person can judge it; the service's count of errors is shown with the question."""

    def judge(facts: Facts) -> Judgement:
        row = facts.one("requests", days=DAYS)
        count = (
            f"The service counted {row['errors']:,} errors in {row['requests']:,} requests in {DAYS} days."
            if row["requests"]
            else f"The service counted no request in the last {DAYS} days."
        )
        return Judgement("for a person", f"{question} {count}", "a person")

    return judge


def by_evidence(kind: str, read: Callable[[dict[str, Any]], tuple[bool, str]]) -> Judge:
    """The latest evidence of a kind; `read` returns whether it meets the criterion, and the message."""

    def judge(facts: Facts) -> Judgement:
        recorded = facts.evidence(kind)
        return Judgement.of(*read(recorded.content), f"asset {kind}", recorded.recorded_at)

    return judge


def _inventory(content: dict[str, Any]) -> tuple[bool, str]:
    tables = content["tables"]
    return True, f"{sum(table['rows'] for table in tables):,} rows in {len(tables)} tables."


def _baseline(content: dict[str, Any]) -> tuple[bool, str]:
    slowest = max(content["queries"], key=lambda query: query["p95_ms"])
    return True, f"{len(content['queries'])} queries, slowest p95 {slowest['p95_ms']:.1f} ms ({slowest['query']})."


def _rehearsal(content: dict[str, Any]) -> tuple[bool, str]:
    return content["passed"], f"All phases and every rollback on a clone took {content['seconds']:.0f} s."


def _drilled_tables(content: dict[str, Any]) -> tuple[bool, str]:
    paths = content["paths"]
    different = [f"{path['path']}: {path['differences']}" for path in paths if not path["equal"]]
    equal = f"The tables of the clone equalled their fingerprint after each of {len(paths)} rollbacks."
    return bool(paths) and not different, "; ".join(different) or equal


def _drilled_service(content: dict[str, Any]) -> tuple[bool, str]:
    phases = ", ".join(f"{one['phase']} {one['seconds']:.1f} s" for one in content["phases"])
    return True, f"A service ran on the clone through every phase ({phases}) and every rollback."


def _list_queries(content: dict[str, Any]) -> tuple[bool, str]:
    queries = content["queries"]
    slow = [query for query in queries if not query["within"]]
    shown = ", ".join(
        f"{one['query']} {one['p95_ms']:.1f} ms (limit {one['limit_ms']:g} ms)" for one in slow or queries
    )
    return bool(queries) and not slow, f"p95 with {content['proposals']:,} proposals: {shown}."


inventory = by_evidence("data_inventory", _inventory)
baseline = by_evidence("performance_baseline", _baseline)
rehearsal = by_evidence("staging_rehearsal", _rehearsal)
drilled_tables_are_equal = by_evidence("rollback_drill", _drilled_tables)
drilled_service_worked = by_evidence("rollback_drill", _drilled_service)
list_queries = by_evidence("performance_validation", _list_queries)


def backup(facts: Facts) -> Judgement:
    """The backup was restored and compared, and its file is unaltered."""
    recorded = facts.evidence("verified_backup")
    outcome = backup_outcome(facts.connection)
    message = (
        f"Restored into a scratch database and compared: {len(recorded.content['tables'])} tables. {outcome.sentence}"
    )
    return Judgement.of(outcome.passed, message, "asset verified_backup", recorded.recorded_at)


def rollbacks(facts: Facts) -> Judgement:
    """Every rollback was drilled recently, with equal tables and within its time limit."""
    recorded = facts.evidence("rollback_drill")
    paths = ", ".join(
        f"{path['path']} {path['seconds']:.1f} s{'' if path['passed'] else ' (failed)'}"
        for path in recorded.content["paths"]
    )
    days = recorded.age_hours() / 24
    if days > facts.settings.rehearsal.drill_max_age_days:
        message = f"The last drill is {days:.0f} days old (limit {facts.settings.rehearsal.drill_max_age_days:g} days): {paths}."
        return Judgement("no evidence yet", message, "asset rollback_drill", recorded.recorded_at)
    return Judgement.of(recorded.content["passed"], f"{paths}.", "asset rollback_drill", recorded.recorded_at)


def schema(facts: Facts) -> Judgement:
    """Every table, column, index and constraint is as declared."""
    require_phase_1(facts.connection)
    outcome = facts.schema()
    message = " ".join([outcome.sentence, *(f"{row};" for row in outcome.sample)])
    return Judgement.of(outcome.passed, message, "check schema_matches_the_declaration")


def healthy(facts: Facts) -> Judgement:
    """The running service is healthy."""
    service = facts.require_service()
    body = health(service)
    message = f"It answers: database {body['database']}, flags of version {body.get('flag_version', 'unknown')}."
    return Judgement.of(True, message, f"{service.url}/health")


def dual_written_knowledge(facts: Facts) -> Judgement:
    """Extractions in dual write still wrote final entities."""
    row = _dual_written(facts)
    message = (
        f"The last {row['extractions']:,} extractions in dual write created {row['proposals']:,} proposals; "
        f"{row['with_knowledge']:,} of them have an entity."
    )
    return Judgement.of(row["with_knowledge"] > 0, message, "validation/criteria_dual_written")


def unsure_results_are_kept(facts: Facts) -> Judgement:
    """Results below the threshold of direct mode exist as proposals."""
    row, threshold = _dual_written(facts), facts.settings.service.direct_threshold
    message = f"{row['unsure']:,} of {row['proposals']:,} proposals of dual write are below {threshold:g}"
    if not row["unsure"]:
        raise PreconditionError(f"{message}, so no such result was extracted.")
    return Judgement.of(True, f"{message} and were kept.", "validation/criteria_dual_written")


def _dual_written(facts: Facts) -> dict[str, Any]:
    row = facts.one("dual_written", threshold=facts.settings.service.direct_threshold)
    if not row["proposals"]:
        raise PreconditionError("No completed extraction in dual write has created a proposal yet.")
    return row


def backfill_in_time(facts: Facts) -> Judgement:
    """Ten thousand rows took less than an hour."""
    row = facts.one("backfill_time")
    if not row["linked"] or row["elapsed_seconds"] is None:
        raise PreconditionError("The backfill is not completed, or linked no row.")
    elapsed = float(row["elapsed_seconds"])
    per_10_000 = elapsed * 10_000 / row["linked"]
    message = (
        f"{row['linked']:,} rows in {elapsed:,.0f} s, pauses included; {row['working_seconds']:,.0f} s in batches; "
        f"{per_10_000:,.0f} s per 10,000 rows (limit 3,600 s)."
    )
    return Judgement.of(per_10_000 < 3_600, message, "migration.backfill_batch")


def backfill_without_errors(facts: Facts) -> Judgement:
    """No quarantined row needs a decision."""
    row = facts.one("backfill_time")
    if row["linked"] is None:
        raise PreconditionError("The backfill has not started.")
    outcome = facts.rule("quarantine_is_decided")
    message = f"{row['quarantined']:,} rows were quarantined. {outcome.sentence}"
    return Judgement.of(outcome.passed, message, "migration.backfill_batch, rule quarantine_is_decided")


def no_row_is_gone(facts: Facts) -> Judgement:
    """Every topic and atom of the inventory still exists; whether users deleted the missing ones is for a person."""
    recorded = facts.evidence("data_inventory")
    before = {table["name"]: table for table in recorded.content["tables"] if table["schema"] == "public"}
    counts, gone = [], 0
    for name in ("topics", "atoms"):
        query = statement("validation/criteria_rows_up_to", table=f"public.{name}")
        row = facts.connection.execute(query, {"last": before[name]["highest_id"] or 0}).fetchone()
        assert row is not None  # an aggregate
        gone += max(0, before[name]["rows"] - row["rows"])
        counts.append(f"{row['rows']:,} of {before[name]['rows']:,} {name}")
    message = f"Of the rows in the inventory, {' and '.join(counts)} exist."
    if gone:
        message += (
            f" Did users delete {gone:,}? `knowledge-migration rollback full --dry-run` compares with the backup."
        )
    return Judgement("for a person" if gone else "met", message, "asset data_inventory, counted again now")


def pool(facts: Facts) -> Judgement:
    """No request failed to get a database connection: in the load test if there is one, else by the gate."""
    try:
        recorded = facts.evidence("load_test")
    except PreconditionError:
        return by_gate("pool_exhaustion")(facts)
    content = recorded.content
    message = (
        f"{content['concurrency']} concurrent extractions: at most {content['pool_used_max']} of {content['pool_size']} "
        f"connections in use, {content['pool_timeouts']} requests without a connection."
    )
    return Judgement.of(not content["pool_timeouts"], message, "asset load_test", recorded.recorded_at)


def review_page(facts: Facts) -> Judgement:
    """The review page answers; whether reviewers can work with it is for a person."""
    service = facts.require_service()
    address = f"{service.url}/review"
    try:
        with service.client() as client:
            answer = client.get("/review", timeout=REVIEW_PAGE_SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        return Judgement.of(False, f"{address} does not answer: {error}.", address)
    if answer.status_code >= 400:
        return Judgement.of(False, f"{address} answers {answer.status_code}.", address)
    if answer.url.path != "/review":
        message = f"{address} redirects to {answer.url.path}: the service does not accept the token of the settings."
        return Judgement.of(False, message, address)
    message = f"It answers within {answer.elapsed.total_seconds():.2f} s. Can reviewers work with it?"
    return Judgement("for a person", message, address)
