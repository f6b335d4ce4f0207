"""Traces of requests and of a prediction's stages, for an OpenTelemetry collector."""

from __future__ import annotations

from collections.abc import Iterable
from time import time_ns

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.inference.model import Prediction
from app.version import version
from model_zoo.extras import installing

PATH = "/v1/traces"
EXPORT_TIMEOUT_S = 5

_PARENT = TraceContextTextMapPropagator()


class Tracing:
    """Creates spans and sends them in batches, in a separate thread, by OTLP over HTTP.

    If the collector is unavailable, only spans are lost. OpenTelemetry's environment variables, such as
    ``OTEL_EXPORTER_OTLP_HEADERS`` or ``OTEL_TRACES_SAMPLER``, apply, except for its endpoints.

    Args:
        endpoint: the collector's base URL, without ``/v1/traces``.

    Raises:
        ValueError: if the packages are not installed.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ValueError(
                f"ROSETTE_OTLP_ENDPOINT is set, but traces need packages that are not installed ({error}): "
                f"{installing('telemetry')}, or unset it"
            ) from error
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + PATH, timeout=EXPORT_TIMEOUT_S)
        resource = Resource.create({"service.name": "rosette", "service.version": version()})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("rosette", version())

    def begin(self, headers: Iterable[tuple[bytes, bytes]], request_id: str) -> Span:
        """Begin a request's span and make it the current one; the caller's ``traceparent`` is its parent."""
        parent = next((value for name, value in headers if name == b"traceparent"), b"")
        span = self._tracer.start_span(
            "request",
            context=_PARENT.extract({"traceparent": parent.decode("latin-1")}, Context()),
            kind=SpanKind.SERVER,
            attributes={"rosette.request_id": request_id},
        )
        context.attach(trace.set_span_in_context(span))
        return span

    def end(self, span: Span, method: str, route: str | None, status: int | None) -> None:
        """End a request's span."""
        span.update_name(f"{method} {route}" if route else method)
        span.set_attribute("http.request.method", method)
        if route is not None:
            span.set_attribute("http.route", route)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status is None or status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def answered(self, answer: Prediction, record_s: float) -> None:
        """Create spans for the stages of a just recorded answer; call in the request's task.

        Args:
            record_s: seconds for recording it.
        """
        recorded = time_ns()
        diagnosed = recorded - int(record_s * 1e9)
        stages = {"decode": answer.decode_ms, "quality": answer.quality_ms, "infer": answer.infer_ms}
        lengths = {stage: int(milliseconds * 1e6) for stage, milliseconds in stages.items()}
        start = diagnosed - sum(lengths.values())
        for stage, length in lengths.items():
            self._tracer.start_span(stage, start_time=start).end(start + length)
            start += length
        self._tracer.start_span("record", start_time=diagnosed).end(recorded)

    def stop(self) -> None:
        """Send waiting spans, with a timeout of some seconds."""
        self._provider.shutdown()
