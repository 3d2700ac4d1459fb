"""A channel that alerts can be sent to: a webhook on this machine, and what it has got."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def channel(*statuses: int, drip: bool = False) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its URL for apprise, and what it has got.

    It answers with these statuses in turn, the last one from then on (200 where none is given); with `drip` each answer begins
    and goes on byte by byte until the channel is closed.
    """
    got: list[dict[str, Any]] = []
    closed = threading.Event()
    answers = list(statuses or (200,))

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.send_header("Content-Length", "1000000" if drip else "0")
            self.end_headers()
            while drip and not closed.wait(0.1):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/hook", got
    finally:
        closed.set()
        server.shutdown()
        server.server_close()


def titles(got: list[dict[str, Any]]) -> list[str]:
    """What was told, in order."""
    return [one["title"] for one in got]
