"""The session cookie."""

from typing import Any

import pytest
from itsdangerous import URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from knowledge_migration.knowledge.api.access import ForbiddenError
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.pages.session import COOKIE, SESSION_SECONDS, Session, session_cookie, session_of

TOKENS = {"reviewer_token": "token of reviewers", "admin_token": "token of the admins"}
OPTIONS = ServiceOptions(database_url="postgresql://nowhere/x", **TOKENS)
ANNA = Session("reviewer", 7, "Anna Example")


def request(cookie: str | None = None, client: str = "127.0.0.1", **headers: str) -> HTTPConnection:
    """A request with a cookie and headers."""
    shown = {"host": "127.0.0.1:8000", **headers} | ({"cookie": f"{COOKIE}={cookie}"} if cookie else {})
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in shown.items()]
    return HTTPConnection({"type": "http", "headers": raw, "client": (client, 1)})


def test_a_cookie_restores_its_session() -> None:
    session = session_of(OPTIONS, request(session_cookie(OPTIONS, ANNA)))

    assert session is not None
    assert (session.role, session.user_id, session.name, session.is_admin) == ("reviewer", 7, "Anna Example", False)


def test_another_process_with_the_same_tokens_knows_the_session_too() -> None:
    elsewhere = ServiceOptions(database_url="postgresql://elsewhere/y", **TOKENS)

    assert session_of(elsewhere, request(session_cookie(OPTIONS, ANNA))) is not None


def test_a_new_token_ends_the_sessions_of_the_old_one() -> None:
    renewed = OPTIONS.replaced(reviewer_token="the renewed token")

    assert session_of(renewed, request(session_cookie(OPTIONS, ANNA))) is None


@pytest.mark.parametrize(
    "forged",
    [
        "nonsense",
        "",
        URLSafeTimedSerializer(TOKENS["reviewer_token"], salt="knowledge session").dumps({"role": "admin"}),
        URLSafeTimedSerializer(TOKENS["reviewer_token"], salt="knowledge session").dumps(["reviewer"]),
        URLSafeTimedSerializer("", salt="knowledge session").dumps({"role": "admin"}),
        URLSafeTimedSerializer(TOKENS["admin_token"], salt="another salt").dumps({"role": "admin"}),
    ],
    ids=["nonsense", "empty", "another role's key", "no object", "no key", "another purpose"],
)
def test_a_forged_cookie_has_no_session(forged: str) -> None:
    assert session_of(OPTIONS, request(forged)) is None


def test_an_expired_cookie_has_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    import itsdangerous.timed

    cookie = session_cookie(OPTIONS, ANNA)
    later = int(itsdangerous.timed.time.time()) + SESSION_SECONDS + 2
    monkeypatch.setattr(itsdangerous.timed.time, "time", lambda: later)

    assert session_of(OPTIONS, request(cookie)) is None


def test_where_one_role_has_no_token_nobody_has_that_role() -> None:
    only_admins = ServiceOptions(database_url="postgresql://nowhere/x", admin_token="token of the admins")
    without_key = URLSafeTimedSerializer("", salt="knowledge session").dumps({"role": "reviewer"})

    assert session_of(only_admins, request(without_key)) is None


def test_a_bearer_token_opens_pages_too() -> None:
    session = session_of(OPTIONS, request(authorization=f"Bearer {TOKENS['admin_token']}"))

    assert session == Session("admin")
    assert session_of(OPTIONS, request(authorization="Bearer wrong")) is None
    assert session_of(OPTIONS, request(authorization="Basic admin")) is None


@pytest.mark.parametrize(
    "elsewhere",
    [{"client": "10.0.0.9"}, {"host": "evil.example"}, {"origin": "http://evil.example"}],
    ids=["another machine", "another name for this machine", "a page of another site"],
)
def test_without_tokens_only_this_machine_is_served(elsewhere: dict[str, Any]) -> None:
    without = ServiceOptions(database_url="postgresql://nowhere/x")

    assert session_of(without, request()) == Session("admin")
    with pytest.raises(ForbiddenError, match="only this machine"):
        session_of(without, request(**elsewhere))


def test_without_tokens_users_can_still_identify_themselves() -> None:
    without = ServiceOptions(database_url="postgresql://nowhere/x")
    session = session_of(without, request(session_cookie(without, Session("admin", 3, "Ben Example"))))

    assert session is not None
    assert (session.name, session.reviewer().user_id, session.reviewer().actor) == (
        "Ben Example",
        3,
        "admin on the page",
    )
