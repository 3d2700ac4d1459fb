"""Every checkbox of the strategy in its order, with its judge."""

from knowledge_migration.engine.validation.criteria import judges
from knowledge_migration.engine.validation.criteria.facts import Criterion
from knowledge_migration.engine.validation.criteria.judges import by_check, by_gate, by_person, by_rules, by_scenario

PREPARATION = "§2.3 Preparation"
SCHEMA = "§3.2 Schema addition"
DUAL_WRITE = "§4.3 Dual write"
BACKFILL = "§5.3 Backfill"
CUTOVER = "§6.4 Cutover"
ROLLBACK = "§8.3 Rollback validation"
INTEGRITY = "§11.1 Data integrity"
FUNCTIONAL = "§11.1 Functional"
PERFORMANCE = "§11.1 Performance"
EXPERIENCE = "§11.1 User experience"

SECTIONS = (
    PREPARATION, SCHEMA, DUAL_WRITE, BACKFILL, CUTOVER, ROLLBACK, INTEGRITY, FUNCTIONAL, PERFORMANCE, EXPERIENCE,
)  # fmt: skip

_LOGS = "Are the application's logs free of errors? The migration does not read them."
_REPORTED = "Has any user reported an error?"

CHECKLIST: tuple[Criterion, ...] = (
    Criterion("inventory", PREPARATION, "Data inventory report", judges.inventory),
    Criterion("baseline", PREPARATION, "Performance baseline metrics", judges.baseline),
    Criterion("backup", PREPARATION, "Database backup verified", judges.backup),
    Criterion("rehearsal", PREPARATION, "Migration scripts tested on staging", judges.rehearsal),
    Criterion("rollbacks", PREPARATION, "Rollback procedure documented and tested", judges.rollbacks),
    Criterion("tables", SCHEMA, "All tables exist", judges.schema),
    Criterion("indexes", SCHEMA, "All indexes created", judges.schema),
    Criterion("logs_after_schema", SCHEMA, "No application errors in logs", by_person(_LOGS)),
    Criterion("api_health", SCHEMA, "API health check passes", judges.healthy),
    Criterion("extraction_still_works", SCHEMA, "Existing extraction still works (direct creation mode)",
              by_check("extraction_still_works")),
    Criterion("dual_write_proposals", DUAL_WRITE, "Proposals created for all extractions",
              by_check("every_new_topic_has_a_proposal", "every_new_atom_has_a_proposal", "extractions_have_their_proposals")),
    Criterion("dual_write_knowledge", DUAL_WRITE, "Final entities still created (backwards compatible)",
              judges.dual_written_knowledge),
    Criterion("unsure_results", DUAL_WRITE, "Low-confidence items now saved as proposals", judges.unsure_results_are_kept),
    Criterion("dual_write_speed", DUAL_WRITE, "No performance degradation (< 10% slower)", by_check("dual_write_is_not_slow")),
    Criterion("logs_after_dual_write", DUAL_WRITE, "No errors in application logs", by_person(_LOGS)),
    Criterion("topics_linked", BACKFILL, "100% of topics have migrated_from_proposal_id",
              by_rules("every_topic_has_a_proposal", over=("public.topics",))),
    Criterion("atoms_linked", BACKFILL, "100% of atoms have migrated_from_proposal_id",
              by_rules("every_atom_has_a_proposal", over=("public.atoms",))),
    Criterion("backfilled_approved", BACKFILL, "All backfilled proposals have status='approved'",
              by_rules("backfilled_topic_proposals_are_approved", "backfilled_atom_proposals_are_approved",
                       over=("migration.backfill_batch",))),
    Criterion("backfill_time", BACKFILL, "Migration completed in < 1 hour (for 10k records)", judges.backfill_in_time),
    Criterion("backfill_errors", BACKFILL, "No errors during backfill", judges.backfill_without_errors),
    Criterion("cutover_proposals", CUTOVER, "Proposals created for all extractions", by_gate("inconsistencies")),
    Criterion("auto_approval", CUTOVER, "Auto-approval works for high-confidence items",
              by_scenario("a_confident_proposal_is_approved_automatically")),
    Criterion("review_page", CUTOVER, "Review queue UI accessible and functional", judges.review_page),
    Criterion("errors_reported", CUTOVER, "No user-facing errors reported", by_person(_REPORTED)),
    Criterion("cutover_speed", CUTOVER, "Performance within acceptable range (< 20% slower)", by_gate("extraction_slowdown")),
    Criterion("services_start", ROLLBACK, "All services start successfully", judges.drilled_service_worked),
    Criterion("queries_work", ROLLBACK, "Database queries execute without errors", judges.rollbacks),
    Criterion("knowledge_accessible", ROLLBACK, "Existing Topics/Atoms still accessible", judges.drilled_tables_are_equal),
    Criterion("rollback_loses_nothing", ROLLBACK, "No data loss detected", judges.drilled_tables_are_equal),
    Criterion("api_responses", ROLLBACK, "API returns expected responses", judges.drilled_service_worked),
    Criterion("frontend", ROLLBACK, "Frontend renders correctly",
              by_person("Does the application's frontend render correctly after a rollback?")),
    Criterion("success_topics_linked", INTEGRITY, "100% of topics have migrated_from_proposal_id",
              by_rules("every_topic_has_a_proposal", over=("public.topics",))),
    Criterion("success_atoms_linked", INTEGRITY, "100% of atoms have migrated_from_proposal_id",
              by_rules("every_atom_has_a_proposal", over=("public.atoms",))),
    Criterion("no_orphans", INTEGRITY, "0 orphaned proposals (missing extraction run FK)",
              by_rules("every_topic_proposal_has_a_run", "every_atom_proposal_has_a_run",
                       "no_approved_topic_proposal_is_orphaned", "no_approved_atom_proposal_is_orphaned",
                       over=("public.topic_proposals", "public.atom_proposals"))),
    Criterion("no_data_loss", INTEGRITY, "0 data loss (topic/atom counts unchanged)", judges.no_row_is_gone),
    Criterion("extractions_propose", FUNCTIONAL, "New extractions create proposals (not direct entities)",
              by_scenario("a_new_extraction_creates_proposals")),
    Criterion("confident_approved", FUNCTIONAL, "High-confidence proposals auto-approve correctly",
              by_scenario("a_confident_proposal_is_approved_automatically")),
    Criterion("manual_approval", FUNCTIONAL, "Manual approval creates final entities",
              by_scenario("a_manual_approval_creates_the_entity")),
    Criterion("duplicates_flagged", FUNCTIONAL, "Duplicate detection flags similar proposals",
              by_scenario("duplicates_are_flagged")),
    Criterion("review_page_speed", FUNCTIONAL, "Review UI loads in < 2 seconds", by_gate("slow_review_pages")),
    Criterion("extraction_speed", PERFORMANCE, "Extraction time < 20% slower than baseline", by_gate("extraction_slowdown")),
    Criterion("list_speed", PERFORMANCE, "Proposal list query < 100ms (p95)", judges.list_queries),
    Criterion("api_errors", PERFORMANCE, "API error rate < 1%", by_gate("api_error_rate")),
    Criterion("pool", PERFORMANCE, "No database connection pool exhaustion", judges.pool),
    Criterion("dashboard", EXPERIENCE, "Review dashboard accessible and functional", judges.review_page),
    Criterion("no_reported_errors", EXPERIENCE, "No user-reported errors", by_person(_REPORTED)),
    Criterion("feedback", EXPERIENCE, "Positive feedback on proposal workflow",
              by_person("What is the reviewers' feedback on the workflow?")),
    Criterion("auto_approval_rate", EXPERIENCE, "Auto-approval rate 50-70% (indicates good LLM accuracy)",
              by_gate("auto_approval_rate")),
)  # fmt: skip
