"""The ways of judging a criterion: by rules, by evidence, by a gate, by a check, by the live service, or by a person.

A judge that raises `PreconditionError` has nothing to look at: the criterion is then `not shown` (see `evaluation`).
"""

import httpx

from knowledge_migration.engine.backfill.run import require_phase_1
from knowledge_migration.engine.foundation.errors import PreconditionError
from knowledge_migration.engine.foundation.sql_files import statement
from knowledge_migration.engine.preparation.legacy_snapshot import backup_outcome
from knowledge_migration.engine.schema.phase import schema_outcome
from knowledge_migration.engine.validation.criteria.facts import Facts
from knowledge_migration.engine.validation.criteria.model import Judge, Judgement, Verdict
from knowledge_migration.engine.validation.service import health

REVIEW_PAGE_SECONDS = 30.0
DAYS = 7


def _verdict(holds: bool) -> Verdict:
    return "holds" if holds else "fails"


def by_rules(*names: str, over: tuple[str, ...]) -> Judge:
    """Each of these integrity rules holds, asked now; where all tables that they are `over` are empty, nothing is shown."""

    def judge(facts: Facts) -> Judgement:
        if not any(_has_rows(facts, table) for table in over):
            raise PreconditionError(f"There is no row in {' or '.join(over)} yet that could show it.")
        outcomes = [facts.rule(name) for name in names]
        broken = [outcome.sentence for outcome in outcomes if not outcome.passed]
        words = " ".join(broken) or " ".join(outcome.description for outcome in outcomes)
        return Judgement(_verdict(not broken), words, f"rule {', '.join(names)}")

    return judge


def _has_rows(facts: Facts, table: str) -> bool:
    return facts.connection.execute(statement("demo/any_row", table=table)).fetchone() is not None


def by_check(*names: str) -> Judge:
    """The latest evaluation of each of these asset checks passed."""

    def judge(facts: Facts) -> Judgement:
        records = [facts.check(name) for name in names]
        failed = [record for record in records if not record.succeeded]
        words = " ".join(record.message for record in failed or records)
        at = min(record.at for record in records if record.at)
        return Judgement(_verdict(not failed), words, f"check {', '.join(names)}", at)

    return judge


def by_gate(metric: str) -> Judge:
    """The last verdict of a gate; inconclusive is not shown."""

    def judge(facts: Facts) -> Judgement:
        last = facts.gate(metric)
        gate = next(one for one in facts.settings.cutover.gates if one.metric == metric)
        seen = "nothing was seen" if last.value is None else f"{last.value:.4g} seen"
        words = (
            f"{gate.meaning} {seen}, limit {gate.limit}, sample {last.sample_size:,}, at {last.stage}: {last.verdict}."
        )
        found: dict[str, Verdict] = {"pass": "holds", "fail": "fails"}
        return Judgement(found.get(last.verdict, "not shown"), words, f"gate {metric}", last.at)

    return judge


def by_scenario(name: str) -> Judge:
    """A scenario of the functional validation, tried on the live service."""

    def judge(facts: Facts) -> Judgement:
        kept = facts.evidence("functional_validation", "asset functional_validation")
        found = next((one for one in kept.content["scenarios"] if one["name"] == name), None)
        if found is None:
            raise PreconditionError(f"The scenario {name} was not tried. Materialize asset functional_validation.")
        verdicts: dict[str, Verdict] = {"pass": "holds", "fail": "fails"}
        verdict = verdicts.get(found["verdict"], "not shown")
        return Judgement(verdict, found["words"], "asset functional_validation", kept.recorded_at)

    return judge


def by_person(question: str) -> Judge:
    """Only a person can say; the service's own count of failures stands beside it."""

    def judge(facts: Facts) -> Judgement:
        counted = facts.one("requests", days=DAYS)
        beside = (
            f"Beside it: the service counted {counted['errors']:,} failures of {counted['requests']:,} requests in {DAYS} days."
            if counted["requests"]
            else f"The service counted no request in the last {DAYS} days."
        )
        return Judgement("for a person", f"{question} {beside}", "a person")

    return judge


def inventory(facts: Facts) -> Judgement:
    """There is a data inventory."""
    kept = facts.evidence("data_inventory", "asset data_inventory")
    rows = sum(table["rows"] for table in kept.content["tables"])
    words = f"{rows:,} rows in {len(kept.content['tables'])} tables."
    return Judgement("holds", words, "asset data_inventory", kept.recorded_at)


def baseline(facts: Facts) -> Judgement:
    """There is a performance baseline."""
    kept = facts.evidence("performance_baseline", "asset performance_baseline")
    slowest = max(kept.content["queries"], key=lambda query: query["p95_ms"])
    words = f"{len(kept.content['queries'])} queries, slowest p95 {slowest['p95_ms']:.1f} ms ({slowest['query']})."
    return Judgement("holds", words, "asset performance_baseline", kept.recorded_at)


def backup(facts: Facts) -> Judgement:
    """The backup was restored and compared, and its file is unaltered."""
    kept = facts.evidence("verified_backup", "asset verified_backup")
    outcome = backup_outcome(facts.connection)
    words = f"Restored into a scratch database and compared: {len(kept.content['tables'])} tables. {outcome.sentence}"
    return Judgement(_verdict(outcome.passed), words, "asset verified_backup", kept.recorded_at)


def rehearsal(facts: Facts) -> Judgement:
    """The whole migration went well on a clone of production."""
    kept = facts.evidence("staging_rehearsal", "asset staging_rehearsal")
    words = f"The whole path and every way back on a clone, {kept.content['seconds']:.0f} s."
    return Judgement(_verdict(kept.content["passed"]), words, "asset staging_rehearsal", kept.recorded_at)


def ways_back(facts: Facts) -> Judgement:
    """Every way back was drilled lately, equal and in time."""
    kept = facts.evidence("rollback_drill", "asset rollback_drill")
    paths = kept.content["paths"]
    told = ", ".join(f"{path['path']} {path['seconds']:.1f} s{'' if path['passed'] else ' (FAILED)'}" for path in paths)
    days = kept.age_hours() / 24
    if days > facts.settings.rehearsal.drill_max_age_days:
        words = (
            f"The last drill is {days:.0f} days old (limit {facts.settings.rehearsal.drill_max_age_days:g}): {told}."
        )
        return Judgement("not shown", words, "asset rollback_drill", kept.recorded_at)
    return Judgement(_verdict(kept.content["passed"]), f"{told}.", "asset rollback_drill", kept.recorded_at)


def drilled_tables_are_equal(facts: Facts) -> Judgement:
    """After each way back the legacy tables of the clone were as before it, value for value."""
    kept = facts.evidence("rollback_drill", "asset rollback_drill")
    different = [f"{path['path']}: {path['differences']}" for path in kept.content["paths"] if not path["equal"]]
    equal = f"Equal to their fingerprint after each of {len(kept.content['paths'])} ways back."
    holds = bool(kept.content["paths"]) and not different
    return Judgement(_verdict(holds), "; ".join(different) or equal, "asset rollback_drill", kept.recorded_at)


def drilled_service_worked(facts: Facts) -> Judgement:
    """The service ran on the clone through every phase and every way back, and extracted."""
    kept = facts.evidence("rollback_drill", "asset rollback_drill")
    phases = ", ".join(f"{one['phase']} {one['seconds']:.1f} s" for one in kept.content["phases"])
    words = f"A live service started on the clone and worked through every phase ({phases}) and way back."
    return Judgement("holds", words, "asset rollback_drill", kept.recorded_at)


def schema(facts: Facts) -> Judgement:
    """Every table, column, index and constraint is as declared."""
    require_phase_1(facts.connection)
    outcome = schema_outcome(facts.database, 20)
    missing = "; ".join(str(row) for row in outcome.sample)
    return Judgement(
        _verdict(outcome.passed), f"{outcome.sentence} {missing}".strip(), "check schema_matches_the_declaration"
    )


def healthy(facts: Facts) -> Judgement:
    """The live service says that it is well."""
    if facts.service is None:
        raise PreconditionError("KNOWLEDGE_SERVICE_URL does not say where the service answers.")
    said = health(facts.service)
    words = f"It answers: database {said['database']}, flags of version {said.get('flag_version', 'unknown')}."
    return Judgement("holds", words, f"{facts.service.url}/health")


def dual_written_knowledge(facts: Facts) -> Judgement:
    """Extractions in dual write still wrote final entities."""
    row = facts.one("dual_written", threshold=facts.settings.service.direct_threshold)
    if not row["proposals"]:
        raise PreconditionError("No completed extraction in dual write has proposed anything yet.")
    words = (
        f"The last {row['extractions']:,} extractions in dual write made {row['proposals']:,} proposals, of which "
        f"{row['with_knowledge']:,} are knowledge."
    )
    return Judgement(_verdict(row["with_knowledge"] > 0), words, "sql/criteria/dual_written.sql")


def unsure_results_are_kept(facts: Facts) -> Judgement:
    """What direct mode would have dropped is there as a proposal."""
    threshold = facts.settings.service.direct_threshold
    row = facts.one("dual_written", threshold=threshold)
    if not row["unsure"]:
        raise PreconditionError(
            f"None of the {row['proposals']:,} proposals of dual write is below {threshold:g}: nothing unsure was extracted."
        )
    words = f"{row['unsure']:,} of {row['proposals']:,} proposals of dual write are below {threshold:g} and were kept."
    return Judgement("holds", words, "sql/criteria/dual_written.sql")


def backfill_in_time(facts: Facts) -> Judgement:
    """Ten thousand rows took less than an hour."""
    row = facts.one("backfill_time")
    if not row["linked"] or row["elapsed_seconds"] is None:
        raise PreconditionError("The backfill is not completed, or had nothing to link.")
    elapsed = float(row["elapsed_seconds"])
    each = elapsed * 10_000 / row["linked"]
    words = (
        f"{row['linked']:,} rows in {elapsed:,.0f} s from beginning to end, pauses included; {row['working_seconds']:,.0f} s "
        f"of it in batches; {each:,.0f} s for 10,000 rows (limit 3,600)."
    )
    return Judgement(_verdict(each < 3_600), words, "migration.backfill_batch")


def backfill_without_errors(facts: Facts) -> Judgement:
    """No row is left undecided, and how many had to be set aside."""
    row = facts.one("backfill_time")
    if row["linked"] is None:
        raise PreconditionError("The backfill has not begun.")
    outcome = facts.rule("quarantine_is_decided")
    words = f"{row['quarantined']:,} rows were set aside on the way. {outcome.sentence}"
    return Judgement(_verdict(outcome.passed), words, "migration.backfill_batch, rule quarantine_is_decided")


def no_row_is_gone(facts: Facts) -> Judgement:
    """Every topic and atom that the inventory counted is still there; users may delete, and only a person knows that they did."""
    kept = facts.evidence("data_inventory", "asset data_inventory")
    counted = {table["name"]: table for table in kept.content["tables"] if table["schema"] == "public"}
    told, gone = [], 0
    for name in ("topics", "atoms"):
        before = counted[name]
        query = statement("validation/criteria_rows_up_to", table=f"public.{name}")
        row = facts.connection.execute(query, {"last": before["highest_id"] or 0}).fetchone()
        assert row is not None
        gone += max(0, before["rows"] - row["rows"])
        told.append(f"{row['rows']:,} of {before['rows']:,} {name}")
    words = f"Of those that the inventory counted there are {' and '.join(told)}."
    if gone:
        words += f" Did users delete {gone:,}? `knowledge-migration rollback full --dry-run` compares with the backup."
    return Judgement("for a person" if gone else "holds", words, "asset data_inventory, counted again now", None)


def list_queries(facts: Facts) -> Judgement:
    """The list of proposals keeps to its limit, measured on purpose."""
    kept = facts.evidence("performance_validation", "asset performance_validation")
    queries = kept.content["queries"]
    slow = [query for query in queries if not query["within"]]
    told = ", ".join(f"{one['query']} {one['p95_ms']:.1f} ms of {one['limit_ms']:g}" for one in slow or queries)
    words = f"p95 with {kept.content['proposals']:,} proposals: {told}."
    return Judgement(_verdict(bool(queries) and not slow), words, "asset performance_validation", kept.recorded_at)


def pool(facts: Facts) -> Judgement:
    """No request waited in vain for a connection: under load where that was tried, else as the gate saw it."""
    try:
        kept = facts.evidence("load_test", "asset load_test")
    except PreconditionError:
        return by_gate("pool_exhaustion")(facts)
    found = kept.content
    words = (
        f"{found['concurrency']} extractions at once: {found['pool_used_max']} of {found['pool_size']} connections in use at "
        f"most, {found['pool_timeouts']} requests without one."
    )
    return Judgement(_verdict(not found["pool_timeouts"]), words, "asset load_test", kept.recorded_at)


def review_page(facts: Facts) -> Judgement:
    """The review page answers, and how fast; whether it can be worked with is for a person."""
    if facts.service is None:
        raise PreconditionError("KNOWLEDGE_SERVICE_URL does not say where the service answers.")
    address = f"{facts.service.url}/review"
    try:
        with facts.service.client() as client:
            answer = client.get("/review", timeout=REVIEW_PAGE_SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        return Judgement("fails", f"{address} does not answer: {error}.", address)
    if answer.status_code >= 400:
        return Judgement("fails", f"{address} answers {answer.status_code}.", address)
    if answer.url.path != "/review":
        return Judgement(
            "fails", f"{address} leads to {answer.url.path}: the token of the settings is not the service's.", address
        )
    words = f"It answers within {answer.elapsed.total_seconds():.2f} s. Can reviewers work with it?"
    return Judgement("for a person", words, address)
