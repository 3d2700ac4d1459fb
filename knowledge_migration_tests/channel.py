"""A channel for alerts: a local webhook that records the received messages."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def channel(*statuses: int, drip: bool = False) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its URL for apprise, and the received messages.

    It responds with these statuses one after the other, then always with the last one (default 200). With `drip`, each response
    is sent byte by byte until the channel is closed.
    """
    messages: list[dict[str, Any]] = []
    closed = threading.Event()
    answers = list(statuses or (200,))

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.send_header("Content-Length", "1000000" if drip else "0")
            self.end_headers()
            while drip and not closed.wait(0.1):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return

        def log_message(self, *_: Any) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/hook", messages
    finally:
        closed.set()
        server.shutdown()
        server.server_close()


def titles(messages: list[dict[str, Any]]) -> list[str]:
    """The titles of the messages, in order."""
    return [message["title"] for message in messages]
