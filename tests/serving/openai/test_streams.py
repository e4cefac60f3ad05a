"""Streams of several pictures, and those that are left or called for again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from overpaint.serving.openai.answers import Partials
from overpaint.serving.service import Service
from tests.serving.openai.conftest import client_of, listening

Listen = Callable[..., str]
Slow = Callable[[float], None]
LONG: dict[str, Any] = {"prompt": "a", "extra_body": {"steps": 500, "strength": 1.0}}


def test_partial_images_are_spread_over_the_steps() -> None:
    for steps, count, shown in ((20, 3, [5, 10, 15]), (20, 1, [10]), (4, 3, [1, 2, 3]), (2, 3, [1, 2])):
        partials = Partials(count)
        taken = [
            step for step in range(1, steps + 1) if partials.take({"image": 0, "step": step, "of": steps}) is not None
        ]
        assert taken == shown, (steps, count)
    late = Partials(3)  # of a picture whose first steps nobody had time to show
    assert [late.take({"image": 0, "step": step, "of": 20}) for step in (12, 13, 14, 15)] == [0, 1, None, 2]
    assert Partials(0).take({"image": 0, "step": 20, "of": 20}) is None


def test_a_stream_has_every_picture(listen: Listen, file: bytes, slow: Slow) -> None:
    slow(0.02)
    more = {"steps": 20, "strength": 1.0, "seed": 5}
    stream = client_of(listen()).images.edit(
        image=file, prompt="a", n=2, stream=True, partial_images=2, extra_body=more
    )
    events = [event.model_dump() for event in stream]
    completed = [event for event in events if event["type"] == "image_edit.completed"]
    assert [(event["image_index"], event["seed"]) for event in completed] == [(0, 5), (1, 6)]
    assert {event["usage"]["evaluations"] for event in completed} == {40}
    assert events[-2:] == completed
    for image in (0, 1):
        partial = [event["partial_image_index"] for event in events[:-2] if event["image_index"] == image]
        assert partial == list(range(len(partial)))


def test_a_call_that_is_repeated_gets_the_same_job(listen: Listen, file: bytes) -> None:
    address, headers = listen(), {"idempotency-key": "one"}
    sent: dict[str, Any] = {"data": {"prompt": "a", "steps": "2"}, "files": {"image": file}, "headers": headers}
    first, again = (httpx.post(f"{address}/v1/images/edits", **sent) for _ in range(2))
    assert first.headers["x-job-id"] == again.headers["x-job-id"]
    assert first.json()["data"] == again.json()["data"]
    sent["data"]["steps"] = "3"
    other = httpx.post(f"{address}/v1/images/edits", **sent)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("policy", ["cancel", "keep"])
def test_a_stream_that_is_left_ends_its_job(
    policy: str, serve: Callable[..., Service], file: bytes, slow: Slow
) -> None:
    service = serve(hosts=(), on_disconnect=policy)
    slow(0.02)
    with listening(service) as address:
        stream = client_of(address).images.edit(image=file, stream=True, partial_images=3, **LONG)
        next(iter(stream))
        stream.close()
        end = time.monotonic() + 20
        if policy == "keep":
            time.sleep(0.3)
            (job,) = service.jobs.open()
            job.cancel()
        while service.jobs.open():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert [job.status for job in service.jobs.ended()] == ["cancelled"]
