"""A small real HTTP server that speaks OpenAI's chat completions, and answers what a test has put on its list."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """An HTTP response. `waits` holds it back until the server closes."""

    body: bytes
    status: int = 200
    waits: bool = False


@dataclass
class ModelServer:
    """The replies to come, in order (the last one is repeated), and the requests that came."""

    url: str
    replies: list[Reply]
    requests: list[Json] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def prompt(self) -> str:
        """The user's part of the first request."""
        return next(part["content"] for part in self.requests[0]["messages"] if part["role"] == "user")

    def next_reply(self) -> Reply:
        """The reply whose turn it is."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def calling_the_tool(arguments: str) -> Reply:
    """The model calls its output tool, named by the request, with these arguments."""
    call = {"id": "call_1", "type": "function", "function": {"name": "final_result", "arguments": arguments}}
    return _completion({"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls")


def saying(text: str) -> Reply:
    """The model answers with text in place of the tool."""
    return _completion({"role": "assistant", "content": text}, "stop")


def extraction_of(extraction: Json) -> Reply:
    """The model returns this extraction."""
    return calling_the_tool(json.dumps(extraction))


def failing(status: int, words: str) -> Reply:
    """An HTTP error with a body such as OpenAI's."""
    return Reply(json.dumps({"error": {"message": words, "type": "test"}}).encode(), status)


def never() -> Reply:
    """No answer for as long as the test runs."""
    return Reply(b"", waits=True)


def _completion(message: Json, reason: str) -> Reply:
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"id": "1", "object": "chat.completion", "created": 1_700_000_000, "model": "m", "choices": [choice]}
    return Reply(json.dumps({**body, "usage": usage}).encode())


@contextmanager
def serving(*replies: Reply) -> Iterator[ModelServer]:
    """A server on a free port of this machine."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.model = ModelServer(f"http://127.0.0.1:{http.server_port}/v1", list(replies))  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield http.model  # type: ignore[attr-defined]
    finally:
        http.model.closing.set()  # type: ignore[attr-defined]
        http.shutdown()
        thread.join()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        model: ModelServer = self.server.model  # type: ignore[attr-defined]
        model.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        model.keys.append(self.headers.get("Authorization", ""))
        reply = model.next_reply()
        if reply.waits:
            model.closing.wait()
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest shows what a test says."""
