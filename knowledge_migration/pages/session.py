"""The session: a signed cookie with a role and a name, valid for 12 hours.

The server stores nothing, so every process of the service accepts the cookie, also after a restart. The signing key is the
token that the user entered: a new token ends all sessions of the old one.
"""

import time
from dataclasses import dataclass

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
"""If no token is set, the cookie only names the user, and everybody on this machine may choose any name."""


class SessionOverError(KnowledgeError):
    """The session has ended while the page was open."""

    status = 401
    title = "Sign in again"


@dataclass(frozen=True)
class Session:
    """A signed-in person; `user_id` and `name` are None for a person who did not identify themselves."""

    role: Role
    user_id: int | None = None
    name: str | None = None
    expires_at: float | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this person may control the migration."""
        return self.role == "admin"

    @property
    def actor(self) -> str:
        """The name for the audit log."""
        reviewer = self.reviewer()
        return reviewer_actor(reviewer.actor, reviewer.user_id)

    def refuse_ended(self) -> None:
        """Raises `SessionOverError` if the session has ended while the page was open."""
        if self.expires_at is not None and time.time() > self.expires_at:
            raise SessionOverError(
                "Your session has ended; nothing was changed. Sign in again in another tab, then reload this page."
            )

    def reviewer(self, notes: str | None = None) -> Reviewer:
        """This person as the reviewer of a decision."""
        return Reviewer(f"{self.role} on the page", self.user_id, notes or None)


def session_cookie(options: ServiceOptions, session: Session) -> str:
    """The value of the cookie of a session."""
    content = {"role": session.role, "user": session.user_id, "name": session.name}
    return _signer(_key(options, session.role)).dumps(content)


def session_of(options: ServiceOptions, connection: HTTPConnection) -> Session | None:
    """The session of a request, by its cookie or bearer token; None if it has neither.

    Raises `ForbiddenError` if no token is set and the request comes from another machine.
    """
    cookie = connection.cookies.get(COOKIE)
    if not options.has_tokens:
        refuse_other_machines(connection)
        return _read(cookie, LOCAL_KEY, "admin") or Session("admin")
    roles: tuple[Role, ...] = ("admin", "reviewer")
    for role in roles:
        session = _read(cookie, _key(options, role), role)
        if session:
            return session
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    token_role = role_of(options, token.strip()) if scheme.lower() == "bearer" else None
    return Session(token_role) if token_role else None


def _read(cookie: str | None, key: str | None, role: Role) -> Session | None:
    if not cookie or not key:
        return None
    try:
        content, signed_at = _signer(key).loads(cookie, max_age=SESSION_SECONDS, return_timestamp=True)
    except BadSignature:
        return None
    if not isinstance(content, dict) or content.get("role") != role:
        return None
    return Session(role, content.get("user"), content.get("name"), signed_at.timestamp() + SESSION_SECONDS)


def _signer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="knowledge session")


def _key(options: ServiceOptions, role: Role) -> str:
    if not options.has_tokens:
        return LOCAL_KEY
    token = options.admin_token if role == "admin" else options.reviewer_token
    return token.get_secret_value() if token else ""
