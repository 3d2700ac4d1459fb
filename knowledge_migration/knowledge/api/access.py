"""Who may call what: bearer tokens of two roles, or, where no token is set, this machine only.

A reviewer decides about proposals and uses the application's routes; an admin changes the flags too. Tokens are compared
in constant time. Without tokens a request must come from a loopback address, for a loopback name, and not from a page of
another site in a browser of this machine.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.options import ServiceOptions

Role = Literal["reviewer", "admin"]


class NoTokenError(KnowledgeError):
    """The request shows no valid token."""

    status = 401
    title = "A token is needed"


class ForbiddenError(KnowledgeError):
    """The request shows a token that does not allow this."""

    status = 403
    title = "Not allowed"


@dataclass(frozen=True)
class Caller:
    """Who calls: a role, and its name for the audit log."""

    role: Role
    name: str


bearer = HTTPBearer(auto_error=False, description="The token of a reviewer or of an admin.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def caller(request: Request, credentials: Credentials) -> Caller:
    """The caller of any role; raises `NoTokenError` or `ForbiddenError`."""
    options: ServiceOptions = request.app.state.service.options
    if not options.has_tokens:
        refuse_other_machines(request)
        return Caller("admin", "local API")
    role = role_of(options, credentials.credentials if credentials else "")
    if role is None:
        raise NoTokenError("Send the header Authorization: Bearer … with the token of a reviewer or an admin.")
    return Caller(role, f"{role} API token")


def role_of(options: ServiceOptions, shown: str) -> Role | None:
    """The role whose token this is, None if it is no token; compared in constant time."""
    known: tuple[tuple[Role, str | None], ...] = (("admin", options.admin_token), ("reviewer", options.reviewer_token))
    found = [role for role, token in known if token and hmac.compare_digest(shown.encode(), token.encode())]
    return found[0] if found else None


def admin(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """An admin; raises `ForbiddenError` for anybody else."""
    if who.role != "admin":
        raise ForbiddenError("This needs the token of an admin.")
    return who


AnyCaller = Annotated[Caller, Depends(caller)]
Admin = Annotated[Caller, Depends(admin)]


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _hostname(url: str) -> str:
    """The name in a URL; empty where there is none, or where it is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def refuse_other_machines(request: HTTPConnection) -> None:
    """Raises `ForbiddenError` unless a request comes from this machine, for this machine, and from none of its other pages."""
    host, origin = request.headers.get("host"), request.headers.get("origin")
    named = [_hostname(f"//{host}")] if host is not None else []
    named += [_hostname(origin)] if origin is not None else []
    here = request.client is not None and is_loopback(request.client.host)
    if not here or not all(is_loopback(name) for name in named):
        raise ForbiddenError(
            "No token is set, so only this machine is served. Set KNOWLEDGE_API_ADMIN_TOKEN to open it."
        )
