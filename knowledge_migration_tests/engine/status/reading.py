"""Settings of the status tests, a reading of the metrics, and rows for each of them."""

from dataclasses import replace

from knowledge_migration.engine.foundation import evidence
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.status.prometheus import MigrationCollector
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration.knowledge.metrics import ServiceExporter, read_service_state
from knowledge_migration.settings import ServiceSettings, Settings

RULES = Settings(service=ServiceSettings(queue_limit=3))


def read(database: Database, exporter: ServiceExporter, flags: Flags | None = None) -> None:
    """Fills an exporter as the service does, now."""
    with database.begin() as connection:
        state = read_service_state(connection, 10.0)
    exporter.keep(replace(state, collected=MigrationCollector(database, RULES).collect()), 0.001)
    exporter.flags, exporter.pool = flags, (3, 10)


def prepare(connection: Connection) -> None:
    """One thing of each kind, and one that must not count."""
    connection.execute("ANALYZE atoms")
    connection.execute(
        "INSERT INTO topic_proposals (id, extraction_run_id, name, description, confidence, status) "
        "SELECT gen_random_uuid(), (SELECT id FROM knowledge_extraction_runs LIMIT 1), 'n' || n, 'd', 0.5, 'pending' "
        "FROM generate_series(1, 2) AS n"
    )
    connection.execute(
        "INSERT INTO migration.quarantine (entity, row_id, reason, sqlstate, state) VALUES ('atom', 9001, 'x', '22001', 'open'), "
        "('atom', 9002, 'x', '22001', 'open')"
    )
    connection.execute(
        "INSERT INTO migration.writer_heartbeat (process, mode, flag_version, started_at, seen_at) VALUES "
        "('a', 'off', 1, now(), now()), ('b', 'off', 1, now(), now() - interval '1 minute')"
    )
    connection.execute(
        "INSERT INTO migration.gate_evaluation (stage, metric, verdict, value) VALUES "
        "('dual_write', 'api_error_rate', 'pass', 0), ('internal_beta', 'api_error_rate', 'fail', 0.25), "
        "('guard of internal_beta', 'api_error_rate', 'pass', 0)"
    )
    evidence.record(connection, "verified_backup", {"path": "/nowhere/backup.dump", "bytes": 1})
    evidence.record(connection, "rollback_drill", {"passed": True})
    evidence.record(connection, "rollback_drill", {"passed": False})
