"""The guard of the pages, without a browser: access and response headers."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from knowledge_migration_tests.pages.living import ADMIN_TOKEN, REVIEWER_TOKEN, Living
from knowledge_migration_tests.serving import PEOPLE_AND_MESSAGES
from knowledge_migration_tests.support.emptying import delete_all_rows


@pytest.fixture(scope="module")
def guarded(pages_service: Living) -> Living:
    """The service with tokens, without proposals."""
    delete_all_rows(pages_service.database)
    with pages_service.database.connect("test") as connection:
        connection.execute(PEOPLE_AND_MESSAGES)
    pages_service.begin_test()
    return pages_service


@pytest.fixture
def browser_like(guarded: Living) -> Iterator[httpx.Client]:
    """A client that keeps cookies and follows no redirects."""
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        yield client


def sign_in(
    client: httpx.Client, token: str, user: str = "", next_page: str = "/review", **headers: str
) -> httpx.Response:
    """Submits the sign-in form."""
    form = {"token": token, "user": user, "next": next_page}
    return client.post("/sign-in", data=form, headers={"origin": str(client.base_url).rstrip("/"), **headers})


def test_without_a_session_a_page_redirects_to_the_sign_in(browser_like: httpx.Client) -> None:
    answer = browser_like.get("/review?kind=atom")

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Freview%3Fkind%3Datom")


def test_the_root_redirects_to_the_page_of_the_role(browser_like: httpx.Client) -> None:
    assert browser_like.get("/").headers["location"] == "/sign-in"
    for token, page in ((REVIEWER_TOKEN, "/review"), (ADMIN_TOKEN, "/migration")):
        answer = sign_in(browser_like, token, next_page="")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert browser_like.get("/").headers["location"] == page


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_do_not_get(browser_like: httpx.Client) -> None:
    answer = sign_in(browser_like, REVIEWER_TOKEN, "3")

    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert REVIEWER_TOKEN not in answer.headers["set-cookie"]
    page = browser_like.get("/review")
    assert page.status_code == 200
    assert "user 3" in page.text


def test_signing_out_ends_it(browser_like: httpx.Client) -> None:
    sign_in(browser_like, ADMIN_TOKEN)
    browser_like.post("/sign-out", headers={"origin": str(browser_like.base_url).rstrip("/")})

    assert browser_like.get("/review").status_code == 303


@pytest.mark.parametrize(
    ("token", "user", "problem"),
    [("wrong", "", "token"), ("", "", "token"), (REVIEWER_TOKEN, "4711", "user"), (REVIEWER_TOKEN, "no@body", "user")],
)
def test_a_wrong_token_or_user_is_reported_and_not_signed_in(
    browser_like: httpx.Client, token: str, user: str, problem: str
) -> None:
    answer = sign_in(browser_like, token, user)

    assert answer.headers["location"] == f"/sign-in?problem={problem}&next=%2Freview"
    assert "set-cookie" not in answer.headers
    assert browser_like.get("/review").status_code == 303
    assert browser_like.get(answer.headers["location"]).status_code == 200


def test_another_site_can_neither_sign_anybody_in_nor_out(browser_like: httpx.Client) -> None:
    assert sign_in(browser_like, ADMIN_TOKEN, origin="https://evil.example").status_code == 403
    assert sign_in(browser_like, ADMIN_TOKEN, origin="null").status_code == 403
    sign_in(browser_like, ADMIN_TOKEN)
    assert browser_like.post("/sign-out", headers={"origin": "https://evil.example"}).status_code == 403
    assert browser_like.get("/review").status_code == 200


@pytest.mark.parametrize(
    "following", ["https://evil.example", "//evil.example", "/review/../x", '/review?"onload=', "javascript:alert(1)"]
)
def test_signing_in_never_redirects_to_another_site(browser_like: httpx.Client, following: str) -> None:
    form = {"token": ADMIN_TOKEN, "next": following}
    answer = browser_like.post("/sign-in", data=form, headers={"origin": str(browser_like.base_url).rstrip("/")})

    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", ["/_nicegui_ws/socket.io/?EIO=4&transport=polling&client_id=gone"])
def test_the_socket_is_for_a_session_of_this_very_site(browser_like: httpx.Client, path: str) -> None:
    assert browser_like.get(path).status_code == 403
    sign_in(browser_like, ADMIN_TOKEN)
    assert browser_like.get(path).status_code == 200
    assert browser_like.get(path, headers={"origin": "https://evil.example"}).status_code == 403
    assert browser_like.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_a_session_cannot_open_the_socket_of_another_session(guarded: Living) -> None:
    socket = "/_nicegui_ws/socket.io/?EIO=4&transport=polling&client_id="
    with httpx.Client(base_url=guarded.url) as admin, httpx.Client(base_url=guarded.url) as reviewer:
        sign_in(admin, ADMIN_TOKEN)
        sign_in(reviewer, REVIEWER_TOKEN)
        of_admin, of_reviewer = (
            re.search(r"'client_id': '([0-9a-f-]{36})'", one.get("/review").text) for one in (admin, reviewer)
        )
        assert of_admin
        assert of_reviewer
        assert reviewer.get(socket + of_admin[1]).status_code == 403
        assert reviewer.get(f"{socket}{of_admin[1]}&client_id={of_reviewer[1]}").status_code == 403
        assert reviewer.get(socket.removesuffix("&client_id=")).status_code == 403
        assert reviewer.get(socket + of_reviewer[1]).status_code == 200
        assert admin.get(socket + of_admin[1]).status_code == 200


def test_a_page_without_a_connection_can_request_the_state_of_its_session(browser_like: httpx.Client) -> None:
    assert browser_like.get("/session").status_code == 401
    sign_in(browser_like, REVIEWER_TOKEN)
    assert browser_like.get("/session").status_code == 204


def test_a_page_may_run_its_own_scripts_only_and_be_framed_by_nobody(browser_like: httpx.Client) -> None:
    sign_in(browser_like, ADMIN_TOKEN)
    answer = browser_like.get("/review")
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))

    assert rules["default-src"] == "'none'"
    assert "'unsafe-inline'" not in rules["script-src"]
    assert rules["frame-ancestors"] == "'none'"
    nonce = rules["script-src"].split("'nonce-")[1].split("'")[0]
    assert answer.text.count("<script") == answer.text.count(f'<script nonce="{nonce}"') > 0
    assert nonce not in browser_like.get("/review").headers["content-security-policy"]
    assert "http://" not in answer.text.replace("http://www.w3.org", "")
    assert "https://" not in answer.text


def test_what_does_not_exist_is_still_a_problem_document(browser_like: httpx.Client) -> None:
    answer = browser_like.get("/nothing-here")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_monitor_with_a_token_sees_the_page_load(guarded: Living) -> None:
    answer = httpx.get(f"{guarded.url}/review", headers={"authorization": f"Bearer {REVIEWER_TOKEN}"})
    metrics = httpx.get(f"{guarded.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}).text

    assert answer.status_code == 200
    assert 'route="/review"' in metrics


def test_a_page_costs_no_file_on_the_machine(guarded: Living) -> None:
    assert not (Path(guarded.home) / ".nicegui").exists()
