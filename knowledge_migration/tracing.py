"""Sends spans with OpenTelemetry (extra otel): of phases, batches, requests and statements, without any value of a row.

Statements are sent as text with placeholders, never with parameters. What may quote a row is removed before it is sent:
messages and tracebacks of exceptions, which PostgreSQL writes values into, and the query strings of requests.
"""

import os
from collections.abc import Sequence
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from knowledge_migration.settings import SettingsError

DEFAULT_SERVICE = "knowledge_migration"
HTTP = "http/protobuf"
KEPT_OF_EVENTS = ("exception.type",)
REMOVED = ("url.query", "url.full", "http.url", "http.target")


def started_provider(exporter: str) -> TracerProvider:
    """The provider of this process, with the exporter of this name, which also traces requests (FastAPI) and statements."""
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(WithoutValues(_exporter(exporter))))
    trace.set_tracer_provider(provider)
    PsycopgInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True)
    return provider


def _resource() -> Resource:
    """What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say, with a default name."""
    named = "OTEL_SERVICE_NAME" in os.environ or f"{SERVICE_NAME}=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {SERVICE_NAME: DEFAULT_SERVICE})


def _exporter(name: str) -> SpanExporter:
    """The exporter that a package has registered under this name; `otlp` is OTLP over HTTP."""
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((value for variable in variables if (value := os.environ.get(variable))), HTTP)
    if name == "otlp" and protocol != HTTP:
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; the extra otel sends {HTTP} (port 4318).")
    registered = entry_points(group="opentelemetry_traces_exporter", name="otlp_proto_http" if name == "otlp" else name)
    if not registered:
        raise SettingsError(f"OTEL_TRACES_EXPORTER is {name}, which no installed package provides; use otlp or none.")
    exporter: SpanExporter = next(iter(registered)).load()()
    return exporter


class WithoutValues(SpanExporter):
    """Passes spans on without the texts that may quote a row."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends what is left of the spans."""
        return self.exporter.export([_without_values(span) for span in spans])

    def shutdown(self) -> None:
        """Ends the exporter."""
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends what the exporter holds."""
        return self.exporter.force_flush(timeout_millis)


def _without_values(span: ReadableSpan) -> ReadableSpan:
    attributes = {name: value for name, value in (span.attributes or {}).items() if name not in REMOVED}
    events = [
        Event(
            event.name,
            {key: (event.attributes or {})[key] for key in KEPT_OF_EVENTS if key in (event.attributes or {})},
            event.timestamp,
        )
        for event in span.events
    ]
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
