"""Access control: bearer tokens of two roles (reviewer, admin), compared in constant time.

Without a configured token, a request must come from a loopback address, name a loopback host, and not come from a page of
another site in a browser of this machine.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from knowledge_migration.knowledge.errors import KnowledgeError
from knowledge_migration.knowledge.options import ServiceOptions
from knowledge_migration.knowledge.service import KnowledgeService

Role = Literal["reviewer", "admin"]


class NoTokenError(KnowledgeError):
    """The request has no valid token."""

    status = 401
    title = "A token is required"


class ForbiddenError(KnowledgeError):
    """The token of the request does not permit this."""

    status = 403
    title = "Not permitted"


@dataclass(frozen=True)
class Caller:
    """The role of the caller, and its name in the audit log."""

    role: Role
    name: str


def service_of(request: Request) -> KnowledgeService:
    """The service of the application."""
    service: KnowledgeService = request.app.state.service
    return service


Service = Annotated[KnowledgeService, Depends(service_of)]
bearer = HTTPBearer(auto_error=False, description="The token of a reviewer or of an admin.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


def caller(request: Request, service: Service, _credentials: Credentials) -> Caller:
    """The caller of any role; raises `NoTokenError` or `ForbiddenError`."""
    return caller_of(request, service.options)


def caller_of(request: HTTPConnection, options: ServiceOptions) -> Caller:
    """The caller, by the headers of the request alone; raises `NoTokenError` or `ForbiddenError`."""
    if not options.has_tokens:
        refuse_other_machines(request)
        return Caller("admin", "local API")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    role = role_of(options, token.strip() if scheme.lower() == "bearer" else "")
    if role is None:
        raise NoTokenError("Send the header Authorization: Bearer TOKEN with the token of a reviewer or an admin.")
    return Caller(role, f"{role} API token")


def role_of(options: ServiceOptions, token: str) -> Role | None:
    """The role of a token, None if it is not valid; compared in constant time."""
    known: dict[Role, SecretStr | None] = {"admin": options.admin_token, "reviewer": options.reviewer_token}
    tokens = {role: secret.get_secret_value() for role, secret in known.items() if secret}
    roles = [role for role, secret in tokens.items() if hmac.compare_digest(token.encode(), secret.encode())]
    return roles[0] if roles else None


def admin(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """The caller, an admin; raises `ForbiddenError` for a reviewer."""
    if who.role != "admin":
        raise ForbiddenError("This requires the token of an admin.")
    return who


AnyCaller = Annotated[Caller, Depends(caller)]
Admin = Annotated[Caller, Depends(admin)]


def is_loopback(host: str) -> bool:
    """Whether an address or name is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _hostname(url: str) -> str:
    """The host name in a URL; empty if there is none or the URL is malformed."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_same_site(connection: HTTPConnection) -> bool:
    """Whether the browser states that a page of this host and port sent the request; a program states nothing."""
    origin, host = connection.headers.get("origin"), connection.headers.get("host")
    if origin is None:
        return connection.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    try:
        return urlsplit(origin).netloc.lower() == (host or "").lower()
    except ValueError:
        return False


def refuse_other_machines(request: HTTPConnection) -> None:
    """Raises `ForbiddenError` unless client address and Host header are loopback, and no page of another origin asks."""
    host = request.headers.get("host")
    is_local = request.client is not None and is_loopback(request.client.host)
    if not is_local or not (host is None or is_loopback(_hostname(f"//{host}"))) or not is_same_site(request):
        raise ForbiddenError(
            "No token is set, so only this machine is served. Set KNOWLEDGE_API_ADMIN_TOKEN to serve other machines."
        )
