"""The probe: a real extraction through the API, followed into both tables, of which nothing stays."""

import pytest

from knowledge_migration.engine.dual_write import switch
from knowledge_migration.engine.foundation.database import Connection, Database
from knowledge_migration.engine.foundation.errors import VerificationError
from knowledge_migration.engine.validation import dual_write_probe
from knowledge_migration.engine.validation.dual_write_probe import ServiceAddress
from knowledge_migration.knowledge.flags import Flags
from knowledge_migration_tests.engine.backfill.backfilling import count
from knowledge_migration_tests.engine.dual_write.conftest import PATIENT
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES, serving

TABLES = (
    "topics", "atoms", "topic_atoms", "atom_links", "messages", "topic_proposals", "atom_proposals",
    "knowledge_extraction_runs", "migration.shadow_failure",
)  # fmt: skip


def counts(connection: Connection) -> dict[str, int]:
    return {table: count(connection, f"SELECT count(*) FROM {table}") for table in TABLES}  # noqa: S608


@pytest.fixture
def dual(peopled: Database, service: str) -> ServiceAddress:
    """A service in dual write."""
    switch.switch_on(peopled, Flags(), PATIENT, reason="a test")
    return ServiceAddress(service)


def test_the_probe_finds_both_and_leaves_nothing(peopled: Database, rows: Connection, dual: ServiceAddress) -> None:
    before = counts(rows)
    found = dual_write_probe.probe(peopled, dual, expect=("dual_write",))
    assert found.mode == "dual_write"
    assert min(found.topics, found.atoms) > 0
    assert found.proposals >= found.topics + found.atoms
    assert counts(rows) == before


def test_the_probe_works_before_phase_1(database: Database) -> None:
    with database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
        with serving(database) as url:
            found = dual_write_probe.probe(database, ServiceAddress(url), expect=("direct",))
            assert (found.mode, found.proposals) == ("direct", 0)
            assert dual_write_probe.health(ServiceAddress(url))["schema_revision"] is None
        assert count(connection, "SELECT count(*) FROM topics") == 0
        assert count(connection, "SELECT count(*) FROM messages") == 200


def test_another_mode_than_expected_is_a_fault_and_is_cleaned_up(
    peopled: Database, rows: Connection, service: str
) -> None:
    before = counts(rows)
    with pytest.raises(VerificationError, match="mode direct, expected dual_write"):
        dual_write_probe.probe(peopled, ServiceAddress(service), expect=("dual_write",))
    assert counts(rows) == before


def test_a_shadow_that_fails_is_found(peopled: Database, rows: Connection, dual: ServiceAddress) -> None:
    rows.execute("ALTER TABLE atom_proposals ADD CONSTRAINT nothing_fits CHECK (false) NOT VALID")
    with pytest.raises(VerificationError, match="no proposal"):
        dual_write_probe.probe(peopled, dual, expect=("dual_write",))
    rows.execute("ALTER TABLE atom_proposals DROP CONSTRAINT nothing_fits")
    assert count(rows, "SELECT count(*) FROM topics") == 0
    assert count(rows, "SELECT count(*) FROM migration.shadow_failure") == 1


def test_a_service_that_is_away_is_told(peopled: Database, rows: Connection) -> None:
    away = ServiceAddress("http://127.0.0.1:9")
    with pytest.raises(VerificationError, match=r"127\.0\.0\.1:9"):
        dual_write_probe.health(away)
    with pytest.raises(VerificationError, match=r"127\.0\.0\.1:9"):
        dual_write_probe.probe(peopled, away, expect=("direct",))
    assert count(rows, "SELECT count(*) FROM messages") == 200


def test_the_probe_shows_its_token(peopled: Database) -> None:
    token = "a token of sixteen letters"
    with serving(peopled, admin_token=token) as url:
        with pytest.raises(VerificationError, match="401"):
            dual_write_probe.probe(peopled, ServiceAddress(url), expect=("direct",))
        assert dual_write_probe.probe(peopled, ServiceAddress(url, token), expect=("direct",)).mode == "direct"
