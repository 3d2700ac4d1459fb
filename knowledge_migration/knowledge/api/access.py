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


def caller(request: Request, service: Service, credentials: Credentials) -> Caller:
    """The caller of any role; raises `NoTokenError` or `ForbiddenError`."""
    options = service.options
    if not options.has_tokens:
        refuse_other_machines(request)
        return Caller("admin", "local API")
    role = role_of(options, credentials.credentials if credentials else "")
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


def refuse_other_machines(request: HTTPConnection) -> None:
    """Raises `ForbiddenError` unless the client address, the Host header and the Origin header are loopback."""
    host, origin = request.headers.get("host"), request.headers.get("origin")
    names = [_hostname(f"//{host}")] if host is not None else []
    names += [_hostname(origin)] if origin is not None else []
    is_local = request.client is not None and is_loopback(request.client.host)
    if not is_local or not all(is_loopback(name) for name in names):
        raise ForbiddenError(
            "No token is set, so only this machine is served. Set KNOWLEDGE_API_ADMIN_TOKEN to serve other machines."
        )
