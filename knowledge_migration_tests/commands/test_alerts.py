"""`knowledge-migration alerts test` as an operator types it, and the channels that `ui` refuses to start with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from knowledge_migration.commands.application import app
from knowledge_migration.engine.foundation.database import Database
from knowledge_migration.engine.foundation.errors import MigrationError, PreconditionError
from knowledge_migration.settings import SettingsError, load_settings
from knowledge_migration_tests.channel import channel, titles


@pytest.fixture
def named(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings name the test's database, and no channel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KNOWLEDGE_MIGRATION_DATABASE_URL", database.url)
    monkeypatch.delenv("KNOWLEDGE_MIGRATION_ALERT_URLS", raising=False)
    return monkeypatch


def said(*words: str) -> str:
    """What the command says; raises what it raises."""
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def channels(patch: pytest.MonkeyPatch, *urls: str) -> None:
    patch.setenv("KNOWLEDGE_MIGRATION_ALERT_URLS", json.dumps(urls))


def test_every_channel_gets_a_message(named: pytest.MonkeyPatch) -> None:
    with channel() as (first, got), channel() as (second, too):
        channels(named, first, second)
        assert said("alerts", "test") == "All 2 channels accepted the message."
    assert titles(got) == titles(too) == ["A test"]


def test_a_channel_that_refuses_is_an_error_that_names_no_address(named: pytest.MonkeyPatch) -> None:
    with channel(500) as (bad, _), channel() as (good, got):
        channels(named, bad, good)
        done = CliRunner().invoke(app, ["alerts", "test"])
    assert isinstance(done.exception, MigrationError)
    assert "1 of 2 channels" in str(done.exception)
    assert "json channel" in done.output
    assert "127.0.0.1" not in done.output
    assert titles(got) == ["A test"]


def test_without_a_channel_it_says_how_to_name_one(named: pytest.MonkeyPatch) -> None:
    with pytest.raises(PreconditionError, match="KNOWLEDGE_MIGRATION_ALERT_URLS="):
        said("alerts", "test")


@pytest.mark.parametrize("command", [("alerts", "test"), ("ui",)])
def test_an_address_that_cannot_be_used_is_refused_by_its_place(
    command: tuple[str, ...], named: pytest.MonkeyPatch
) -> None:
    channels(named, "json://127.0.0.1:1", "unheard://a-secret")
    with pytest.raises(SettingsError, match="at place 2") as refused:
        said(*command)
    assert "secret" not in str(refused.value)


def test_what_is_no_list_is_refused_at_start_and_not_repeated(named: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="KNOWLEDGE_MIGRATION_ALERT_URLS") as refused:
        load_settings(knowledge_migration_alert_urls="mailto://a-secret")
    assert "secret" not in str(refused.value)
