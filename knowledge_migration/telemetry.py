"""The work in progress (run, phase, batch): fields of the log records and, where they are switched on, spans of OpenTelemetry.

The standard variables of OpenTelemetry switch traces on; otherwise nothing of its SDK is imported. No value of a row gets
into a field or a span.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from knowledge_migration.settings import Settings, SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)
ATTRIBUTE = "knowledge_migration."
EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
FLUSH_MILLISECONDS = 5_000
OF_DAGSTER = {"run_id": "run_id", "job_name": "job", "step_key": "step"}
"""Fields of Dagster's records, and what they are called here."""
WITHOUT_EXTRA = (
    "The extra otel is not installed; run: pip install 'knowledge_migration[otel]', or set OTEL_TRACES_EXPORTER=none."
)

_fields: ContextVar[Mapping[str, Any]] = ContextVar("fields", default={})  # noqa: B039 - replaced, never changed
_provider: "TracerProvider | None" = None


@contextmanager
def in_progress(name: str, **fields: Any) -> Iterator[Callable[..., None]]:
    """The records of the block get these fields, and the block is a span; yields a function that adds attributes to the span."""
    outer = _fields.get()
    known = {key: value for key, value in {**outer, **fields}.items() if value is not None}
    _fields.set(known)
    try:
        if _provider is None:
            yield lambda **_: None
        else:
            tracer = _provider.get_tracer(__name__)
            with tracer.start_as_current_span(name, attributes=_attributes(known)) as span:
                yield lambda **measured: span.set_attributes(_attributes(measured))
    finally:
        _fields.set(outer)  # a token cannot be reset where a generator ends in another context


def _attributes(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{ATTRIBUTE}{key}": value for key, value in fields.items()}


def start(settings: Settings) -> None:
    """Switches on what the settings and the variables of OpenTelemetry ask for, in this process; a second call does nothing.

    Raises `SettingsError` where OTEL_TRACES_EXPORTER asks for traces that cannot be sent.
    """
    if settings.installation.log_format == "json" and not any(
        isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers
    ):
        logging.basicConfig(level=logging.getLogger().level, handlers=[json_handler()], force=True)
    if _provider is None and traces_wanted():
        _start_traces()


def traces_wanted() -> bool:
    """Whether the standard variables name an exporter or an endpoint, and none of them switches traces off."""
    named = os.environ.get(EXPORTER, "").strip().lower()
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or named == "none"
    return not disabled and bool(named or any(os.environ.get(endpoint) for endpoint in ENDPOINTS))


def _start_traces() -> None:
    """Without the extra, an exporter that is named is an error; an endpoint, which a platform may set for all, is a warning."""
    global _provider  # noqa: PLW0603 - one provider for each process, as in OpenTelemetry itself
    try:
        from knowledge_migration.tracing import started_provider
    except ModuleNotFoundError as error:
        if os.environ.get(EXPORTER):
            raise SettingsError(f"{EXPORTER} asks for traces. {WITHOUT_EXTRA}") from error
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT names a receiver of traces, and none are sent. %s", WITHOUT_EXTRA)
        return
    _provider = started_provider(os.environ.get(EXPORTER) or "otlp")


def is_tracing() -> bool:
    """Whether this process sends spans."""
    return _provider is not None


def mark_failed() -> None:
    """The present span has failed, though no exception leaves it."""
    if _provider is not None:
        from opentelemetry.trace import StatusCode, get_current_span

        get_current_span().set_status(StatusCode.ERROR)


def flush() -> None:
    """Sends the spans that wait: a process of a run may end without its exit handlers."""
    if _provider is not None:
        _provider.force_flush(FLUSH_MILLISECONDS)


def json_handler() -> logging.Handler:
    """A handler that writes JSON lines to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    return handler


class JsonLines(logging.Formatter):
    """One JSON object for each record: time, level, logger, message, the work in progress, and the ids of the span."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        dagster = getattr(record, "dagster_meta", {})
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": dagster.get("orig_message") or record.getMessage(),
            **{name: dagster[key] for key, name in OF_DAGSTER.items() if dagster.get(key)},
            **_fields.get(),
            **_span_ids(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _span_ids() -> dict[str, str]:
    if _provider is None:
        return {}
    from opentelemetry.trace import get_current_span

    span: Span = get_current_span()
    at = span.get_span_context()
    return {"trace_id": f"{at.trace_id:032x}", "span_id": f"{at.span_id:016x}"} if at.is_valid else {}
