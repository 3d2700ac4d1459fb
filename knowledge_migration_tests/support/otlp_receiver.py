"""A receiver of OTLP over HTTP, in a thread of the test: what a collector would get."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

OURS = "knowledge_migration."


@dataclass
class Receiver:
    """What was sent so far."""

    url: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def variables(self) -> dict[str, str]:
        """The standard variables that name it; spans are sent at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    @property
    def services(self) -> set[str]:
        """The names of the services that sent something."""
        return {
            attribute.value.string_value
            for body in self.bodies
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
            for attribute in part.resource.attributes
            if attribute.key == "service.name"
        }

    @property
    def spans(self) -> list[Any]:
        """Every span."""
        return [
            span
            for body in self.bodies
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Any]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]


def ours(span: Any) -> dict[str, str | int]:
    """The attributes that the migration has set."""
    return {
        one.key.removeprefix(OURS): one.value.string_value or one.value.int_value
        for one in span.attributes
        if one.key.startswith(OURS)
    }


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """Receives while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            received.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received = Receiver(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield received
        finally:
            server.shutdown()
