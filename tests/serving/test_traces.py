"""Spans of calls and jobs, as the SDK keeps them in memory; nothing of it where it is off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from overpaint.cli import main
from overpaint.serving.app import create_app
from overpaint.serving.service import Service
from tests.serving.test_api import Slow, document, until_done
from tests.support.engines import until

Serve = Callable[..., Service]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture(scope="module")
def provider() -> InMemorySpanExporter:
    """Where all spans go; a process sets that once."""
    exporter = InMemorySpanExporter()
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(made)
    return exporter


@pytest.fixture
def exporter(provider: InMemorySpanExporter) -> InMemorySpanExporter:
    provider.clear()
    return provider


def spans_with_a_job(exporter: InMemorySpanExporter) -> Sequence[ReadableSpan]:
    """All spans, once the job's has come: its client may be answered before."""
    until(lambda: any(span.name.startswith("job ") for span in exporter.get_finished_spans()))
    return exporter.get_finished_spans()


def by_name(spans: Sequence[ReadableSpan]) -> Mapping[str, ReadableSpan]:
    return {span.name: span for span in spans}


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def within(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    times = (inner.start_time, inner.end_time, outer.start_time, outer.end_time)
    begin, end, first, last = (time or 0 for time in times)
    return begin >= first - 10**6 and end <= last + 10**6


def test_a_call_and_its_job_are_spans_of_the_callers_trace(
    serve: Serve, exporter: InMemorySpanExporter, file: bytes, slow: Slow
) -> None:
    slow(0.01)
    client = TestClient(create_app(serve(traces=True)))
    made = client.post("/v1/jobs?wait=true", json=document(file), headers={**CALLER, "x-request-id": "mine"})
    assert made.status_code == 200
    spans = by_name(spans_with_a_job(exporter))
    assert set(spans) == {"POST /v1/jobs", "job img2img", "queue", "encode", "denoise", "decode"}
    assert all(span.context and f"{span.context.trace_id:032x}" == TRACE for span in spans.values())
    call, job = spans["POST /v1/jobs"], spans["job img2img"]
    assert call.parent
    assert f"{call.parent.span_id:016x}" == PARENT
    assert attributes(call)["http.response.status_code"] == 200
    assert attributes(call)["overpaint.request"] == attributes(job)["overpaint.request"] == "mine"
    assert job.parent == call.context
    assert attributes(job)["overpaint.evaluations"] == 4
    for name in ("queue", "encode", "denoise", "decode"):
        assert spans[name].parent == job.context
        assert within(spans[name], job)
    denoise = spans["denoise"]
    assert (denoise.end_time or 0) - (denoise.start_time or 0) > 4 * 10**7 * 0.9
    assert (spans["encode"].end_time or 0) <= (denoise.start_time or 0) + 10**6


def test_a_job_that_nobody_waits_for_keeps_its_trace_and_routes_have_no_ids(
    serve: Serve, exporter: InMemorySpanExporter, file: bytes
) -> None:
    client = TestClient(create_app(serve(traces=True)))
    id = client.post("/v1/jobs", json=document(file, n=2), headers=CALLER).json()["id"]
    until_done(client, id)
    spans = spans_with_a_job(exporter)
    names = [span.name for span in spans]
    assert "GET /v1/jobs/{id}" in names
    (job,) = [span for span in spans if span.name == "job img2img"]
    assert job.context
    assert f"{job.context.trace_id:032x}" == TRACE
    assert names.count("denoise") == names.count("decode") == 2  # a picture each


def test_what_failed_says_so(serve: Serve, exporter: InMemorySpanExporter, file: bytes, slow: Slow) -> None:
    client = TestClient(create_app(serve(traces=True)), raise_server_exceptions=False)
    assert client.post("/v1/jobs", json=document(file, strength=2)).status_code == 400
    (refused,) = exporter.get_finished_spans()
    assert attributes(refused)["error.type"] == "invalid_input"
    assert refused.status.is_unset  # the caller's fault
    exporter.clear()
    slow(0.05)
    assert client.post("/v1/jobs?wait=true", json=document(file, steps=500, timeout=0.2)).status_code == 504
    spans = by_name(spans_with_a_job(exporter))
    assert attributes(spans["job img2img"])["error.type"] == "timeout"
    assert not spans["job img2img"].status.is_ok
    exporter.clear()
    client.request("NONSENSE", "/elsewhere")
    (span,) = exporter.get_finished_spans()
    assert (span.name, attributes(span)["http.response.status_code"]) == ("_OTHER", 404)


def test_off_nothing_is_traced(serve: Serve, exporter: InMemorySpanExporter, file: bytes) -> None:
    client = TestClient(create_app(serve()))
    assert client.post("/v1/jobs?wait=true", json=document(file), headers=CALLER).status_code == 200
    assert not exporter.get_finished_spans()
    script = "import sys, overpaint.serving.server; print([m for m in sys.modules if 'opentelemetry' in m])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "overpaint.serving.traces", raising=False)
    assert main(["serve", "--traces", "true"]) == 1
    assert "pip install 'overpaint[telemetry]'" in capsys.readouterr().err
