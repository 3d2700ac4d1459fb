"""Access control, and that no response contains a token."""

import logging

import pytest

from knowledge_migration_tests.knowledge.api.conftest import ADMIN, REVIEWER, TOKENS, Talk, problem, showing

ADMIN_ROUTES = [
    ("GET", "/admin/config"),
    ("POST", "/admin/config"),
    ("POST", "/admin/config/reload"),
    ("POST", "/admin/rollback"),
]
OTHER_ROUTES = [
    ("GET", "/topics"),
    ("POST", "/topics"),
    ("GET", "/topics/1"),
    ("PATCH", "/topics/1"),
    ("GET", "/topics/1/atoms"),
    ("GET", "/atoms"),
    ("POST", "/atoms"),
    ("GET", "/atoms/1"),
    ("PATCH", "/atoms/1"),
    ("DELETE", "/atoms/1"),
    ("POST", "/knowledge/extract"),
    ("POST", "/knowledge/extractions"),
    ("GET", "/knowledge/runs"),
    ("GET", "/knowledge/runs/00000000-0000-4000-8000-000000000000"),
    ("GET", "/knowledge/proposals"),
    ("GET", "/knowledge/decisions"),
    ("POST", "/knowledge/proposals/bulk"),
    ("GET", "/knowledge/proposals/00000000-0000-4000-8000-000000000000"),
    *(
        ("POST", f"/knowledge/proposals/00000000-0000-4000-8000-000000000000/{action}")
        for action in ("approve", "reject", "merge", "undo")
    ),
    ("GET", "/metrics"),
]


def test_this_list_contains_every_route(talk: Talk) -> None:
    with talk() as api:
        paths = api.get("/openapi.json").json()["paths"]
    assert sum(len(operations) for operations in paths.values()) == len(ADMIN_ROUTES) + len(OTHER_ROUTES) + len(
        ["/health"]
    )


def test_without_a_valid_token_every_route_responds_with_a_challenge(talk: Talk) -> None:
    with talk(**TOKENS) as api:
        for method, path in ADMIN_ROUTES + OTHER_ROUTES:
            answer = api.ask(method, path)
            problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer", path
        for shown in ("", "Bearer", "Bearer ", f"Bearer {ADMIN}x", f"Bearer {ADMIN[:-1]}", f"Bearer {ADMIN.upper()}"):
            problem(api.get("/topics", headers={"Authorization": shown}), 401)
        for raw in (f"Basic {ADMIN}".encode(), ADMIN.encode(), "Bearer \u00e9".encode(), b"Bearer \xff"):
            problem(api.get("/topics", headers=[(b"Authorization", raw)]), 401)


def test_a_reviewer_may_use_every_route_except_those_of_an_admin(talk: Talk) -> None:
    with talk(**TOKENS) as api:
        for method, path in ADMIN_ROUTES:
            answer = api.ask(method, path, headers=showing(REVIEWER), json={"flags": {"enabled": True}, "reason": "x"})
            assert "admin" in problem(answer, 403)
        for method, path in OTHER_ROUTES:
            assert api.ask(method, path, headers=showing(REVIEWER)).status_code in (200, 404, 422), path
        assert api.get("/admin/config", headers=showing(ADMIN)).json()["flags"]["version"] == 0


def test_a_role_without_a_token_has_no_access(talk: Talk) -> None:
    with talk(reviewer_token=REVIEWER) as api:
        assert api.get("/topics", headers=showing(REVIEWER)).status_code == 200
        problem(api.get("/admin/config", headers=showing(REVIEWER)), 403)
        problem(api.get("/admin/config"), 401)
        problem(api.get("/admin/config", headers=showing("None")), 401)
        problem(api.get("/admin/config", headers=showing("")), 401)


def test_with_tokens_other_machines_and_names_are_served(talk: Talk) -> None:
    foreign = {"host": "knowledge.example", "origin": "https://admin.example", **showing(REVIEWER)}
    with talk(address="192.0.2.7", **TOKENS) as api:
        assert api.get("/topics", headers=foreign).status_code == 200


def test_health_needs_no_token(talk: Talk) -> None:
    with talk(address="192.0.2.7", **TOKENS) as api:
        assert api.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_without_tokens_this_machine_is_served_as_an_admin(talk: Talk, address: str) -> None:
    with talk(address=address) as api:
        for host in ("localhost", "localhost:8000", "127.0.0.1", "[::1]:8000"):
            assert api.get("/admin/config", headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1", ""])
def test_without_tokens_no_other_machine_is_served(talk: Talk, address: str) -> None:
    with talk(address=address) as api:
        for method, path in ADMIN_ROUTES + OTHER_ROUTES:
            assert "only this machine" in problem(api.ask(method, path), 403), path


FOREIGN_NAMES = (
    {"host": "evil.example"},
    {"host": "localhost.evil.example"},
    {"host": "localhost@evil.example"},
    {"host": "127.0.0.1.evil.example"},
    {"host": "a_b.evil.example"},
    {"host": "[::1"},
    {"host": "[zz]"},
    {"host": ""},
    {"origin": "https://evil.example"},
    {"origin": "http://localhost.evil.example:8000"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://[bad"},
    {"origin": "localhost"},
    {"origin": "http://localhost:3000"},
)


def test_a_page_of_another_site_in_a_local_browser_is_refused(talk: Talk) -> None:
    with talk() as api:
        for headers in FOREIGN_NAMES:
            problem(api.post("/topics", json={"name": "planted", "description": ""}, headers=headers), 403)
        assert api.get("/topics").json()["items"] == []


def test_no_response_and_no_log_contains_a_token(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    responses = []
    with talk(**TOKENS) as api:
        for token in (ADMIN, REVIEWER, "a wrong token"):
            for method, path in [*ADMIN_ROUTES, *OTHER_ROUTES, ("GET", "/openapi.json"), ("GET", "/health")]:
                answer = api.ask(method, path, headers=showing(token))
                responses += [answer.text, str(answer.headers)]
        change = {"flags": {"dual_write": True}, "reason": "to see"}
        responses.append(api.post("/admin/config", json=change, headers=showing(ADMIN)).text)
    everything = "\n".join([*responses, caplog.text])
    for token in (ADMIN, REVIEWER, "a wrong token"):
        assert token not in everything
