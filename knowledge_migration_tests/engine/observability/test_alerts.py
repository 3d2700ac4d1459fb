"""Alerts reach real channels; one that fails or hangs stops nobody else and leaves nothing behind; no secret is sent."""

import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from knowledge_migration.engine.observability import alerts as alerts_file
from knowledge_migration.engine.observability.alerts import AlertCursor, Alerts, Undelivered, shortened
from knowledge_migration_tests.channel import channel, titles

PATIENT = 120.0
"""Seconds: a process that delivers needs 1 s of CPU time, and a busy machine gives it a tenth of one CPU."""


def eventually(condition: Callable[[], bool]) -> None:
    """Returns when the condition is true; fails when it never is."""
    pause = threading.Event()
    for _ in range(int(PATIENT / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("never came true")


def deliveries() -> list[psutil.Process]:
    """The processes that bring a message somewhere now."""
    return [child for child in psutil.Process().children(recursive=True) if alerts_file.__file__ in child.cmdline()]


def test_every_channel_gets_the_message_and_a_bad_one_stops_no_other() -> None:
    with channel() as (good, got), channel(500) as (bad, tried):
        failures = Alerts((bad, "unheard://x", good), seconds=PATIENT).send("A title", "a body", kind="failure")
    assert [(one["title"], one["message"], one["type"]) for one in got] == [("A title", "a body", "failure")]
    assert [one.reason for one in failures] == ["it did not accept the message", "its address cannot be used"]
    assert len(tried) == 2


def test_a_channel_that_refuses_once_is_asked_once_more() -> None:
    with channel(503, 200) as (url, got):
        assert Alerts((url,), seconds=PATIENT).send("A title", "a body") == []
    assert titles(got) == ["A title", "A title"]


def test_channels_that_hang_hold_nobody_up_and_leave_no_process() -> None:
    with channel(drip=True) as (first, _), channel(drip=True) as (second, _):
        failures = Alerts((first, second), seconds=1).send("A title", "a body")
        assert [one.reason for one in failures] == ["no answer within the time limit"] * 2
        assert deliveries() == []


def test_a_channel_that_hangs_does_not_delay_the_message_to_another() -> None:
    with ThreadPoolExecutor(1) as pool, channel(drip=True) as (hanging, _), channel() as (good, got):
        pool.submit(Alerts((hanging, good), seconds=PATIENT).send, "A title", "a body")
        eventually(lambda: titles(got) == ["A title"])


def test_nothing_is_raised_where_no_process_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    alerts = Alerts(("json://127.0.0.1:1",))
    failures = alerts.send("A title", "a body")
    assert [one.reason for one in failures] == ["its process did not start (FileNotFoundError)"]
    assert len(failures) == len(alerts.urls)


def test_without_a_channel_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert not Alerts().urls
    assert Alerts().send("A title", "a body") == []
    assert "'A title' was not sent: KNOWLEDGE_MIGRATION_ALERT_URLS names no channel" in caplog.text


@pytest.mark.parametrize("address", ["json://a-secret@{}", "unheard://a-secret@{}", "user:a-secret@{}", "a-secret"])
def test_no_secret_of_an_address_is_told(
    address: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.NOTSET + 1)
    logging.getLogger("apprise").setLevel(1)
    with channel(500) as (url, _):
        alerts = Alerts((address.format(url.partition("://")[2] + "?+token=a-secret"),), seconds=PATIENT)
        failures = alerts.send("A title", "a body")
    assert len(failures) == 1
    assert alerts.unusable_places() == ([] if address.startswith("json") else [1])
    assert "a-secret" not in caplog.text + repr(failures) + repr(alerts) + str(alerts) + "".join(capfd.readouterr())
    assert failures[0].channel.split()[0] in ("json", "unheard", "unreadable")


def test_the_same_channel_is_always_called_the_same_and_two_are_not() -> None:
    urls = ("unheard://one", "unheard://two")
    first, again = (Alerts(urls, seconds=PATIENT).send("A title", "a body") for _ in range(2))
    assert first == again
    assert first[0] != first[1]
    assert all(isinstance(one, Undelivered) for one in first)


def test_the_places_of_addresses_that_cannot_be_used_are_found() -> None:
    assert Alerts(("json://127.0.0.1:1", "unheard://secret", ""), seconds=PATIENT).unusable_places() == [2, 3]


def test_what_was_sent_survives_a_restart_and_nothing_appears_too_late() -> None:
    sent = AlertCursor(5).advanced([7, 9], settled=5, full=False)
    assert AlertCursor.read(sent.text) == sent == AlertCursor(5, frozenset({7, 9}))
    assert sent.advanced([], settled=8, full=False) == AlertCursor(8, frozenset({9}))
    assert sent.advanced([], settled=3, full=False) == sent
    assert AlertCursor(5).advanced([6, 7], settled=20, full=True) == AlertCursor(7)
    assert AlertCursor.read(None) is None


def test_a_long_message_is_cut_and_says_so() -> None:
    assert shortened(["a", "b", "c"], most=2) == "a\nb\nand 1 more"
    assert len(shortened(["x" * 10_000])) == 500
