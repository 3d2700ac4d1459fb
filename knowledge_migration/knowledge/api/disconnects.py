"""A client that disconnects before its response is no fault: a file that is not sent to its end makes middlewares raise."""

import logging

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_RESPONSE = "No response returned."
"""What starlette's BaseHTTPMiddleware raises if the response was given up."""

log = logging.getLogger(__name__)


class Disconnects:
    """Ends the request of a client that has gone; every other error is raised. Outside of all middlewares that raise."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        has_gone = False

        async def received() -> Message:
            nonlocal has_gone
            message = await receive()
            has_gone = has_gone or message["type"] == "http.disconnect"
            return message

        try:
            await self.app(scope, received, send)
        except (RuntimeError, ClientDisconnect) as error:
            if not has_gone or (isinstance(error, RuntimeError) and str(error) != NO_RESPONSE):
                raise
            log.debug("The client of %s disconnected before the response", scope["path"])
