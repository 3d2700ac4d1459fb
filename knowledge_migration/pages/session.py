"""Who has signed in: a signed cookie that says a role and a name, and says it for half a day.

Nothing is kept on the server, so that every process of the service knows everybody who signed in at another, also after a
restart. The cookie is signed with the token that was shown: a new token ends all sessions of the old one.
"""

import time
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.requests import HTTPConnection

from knowledge_migration.knowledge.api.access import Role, refuse_other_machines, role_of
from knowledge_migration.knowledge.audit import reviewer_actor
from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.proposals.review import Reviewer

COOKIE = "knowledge_session"
SESSION_SECONDS = 12 * 3600
LOCAL_KEY = "no token is set: only this machine is served"
"""Where no token is set the cookie only says who somebody is; anybody on this machine may say so."""


class SessionOverError(KnowledgeError):
    """The session has ended while the page was open."""

    status = 401
    title = "Sign in again"


@dataclass(frozen=True)
class Session:
    """Somebody who signed in; `user_id` and `name` are None where they did not say which user they are."""

    role: Role
    user_id: int | None = None
    name: str | None = None
    expires_at: float | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this one may change how the migration goes."""
        return self.role == "admin"

    @property
    def shown_name(self) -> str:
        """What the page calls this one."""
        return self.name or self.role

    @property
    def actor(self) -> str:
        """The name for the audit log."""
        by = self.reviewer()
        return reviewer_actor(by.actor, by.user_id)

    def refuse_ended(self) -> None:
        """Raises `SessionOverError` where the session has ended while the page was open."""
        if self.expires_at is not None and time.time() > self.expires_at:
            raise SessionOverError(
                "Your session has ended; nothing was changed. Sign in again in another tab, then load this page again."
            )

    def reviewer(self, notes: str | None = None) -> Reviewer:
        """This one as who decides."""
        return Reviewer(f"{self.role} on the page", self.user_id, notes or None)


def written(options: ServiceOptions, session: Session) -> str:
    """The cookie's value."""
    return _signer(_key(options, session.role)).dumps(
        {"role": session.role, "user": session.user_id, "name": session.name}
    )


def session_of(options: ServiceOptions, connection: HTTPConnection) -> Session | None:
    """Who makes this request, by its cookie or by a bearer token; None where it shows neither.

    Raises `ForbiddenError` where no token is set and the request is not of this machine.
    """
    cookie = connection.cookies.get(COOKIE)
    if not options.has_tokens:
        refuse_other_machines(connection)
        return _read(cookie, LOCAL_KEY, "admin") or Session("admin")
    roles: tuple[Role, ...] = ("admin", "reviewer")
    for role in roles:
        found = _read(cookie, _key(options, role), role)
        if found:
            return found
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    shown = role_of(options, token.strip()) if scheme.lower() == "bearer" else None
    return Session(shown) if shown else None


def _read(cookie: str | None, key: str | None, role: Role) -> Session | None:
    if not cookie or not key:
        return None
    try:
        value, signed_at = _signer(key).loads(cookie, max_age=SESSION_SECONDS, return_timestamp=True)
    except BadSignature:
        return None
    return _session(value, role, signed_at.timestamp() + SESSION_SECONDS)


def _session(value: Any, role: Role, expires_at: float) -> Session | None:
    if not isinstance(value, dict) or value.get("role") != role:
        return None
    return Session(role, value.get("user"), value.get("name"), expires_at)


def _signer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="knowledge session")


def _key(options: ServiceOptions, role: Role) -> str:
    if not options.has_tokens:
        return LOCAL_KEY
    token = options.admin_token if role == "admin" else options.reviewer_token
    return token or ""
