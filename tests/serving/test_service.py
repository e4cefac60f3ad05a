"""Jobs on the fake engine: what is made under load, cancelled, late, refused, shared and kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from overpaint import CancelledError, EngineError, InputError, ModelOutputError, Pipeline, RunTimeoutError
from overpaint.errors import OutOfMemoryError, RefusedError
from overpaint.runtime.model.model import Model
from overpaint.runtime.model.tickets import CANCELLED, DONE, FAILED
from overpaint.serving.jobs import END, PREVIEW, PROGRESS, Job, Notice
from overpaint.serving.orders import Order
from overpaint.serving.refusals import status_of
from overpaint.serving.service import Service
from tests.support.engines import Counting, Spoiling, has_rows_of

Serve = Callable[..., Service]
Make = Callable[..., Order]
Slow = Callable[[float], None]

VERBS: dict[str, dict[str, Any]] = {
    "img2img": {"n": 2},
    "inpaint": {},
    "outpaint": {"right": 16},
    "upscale": {"scale": 2.0, "tile": 32, "sampler": "ddim"},
    "grid": {"axes": {"strength": [0.5, 1.0]}, "cell": 64},
}


def order_of(verb: str, order: Make, mask_file: bytes, **more: Any) -> Order:
    masks = {"masks": (mask_file,)} if verb == "inpaint" else {}
    return order(verb, **{"steps": 4, **VERBS[verb], **masks, **more})


def pixels(job: Job) -> list[np.ndarray[Any, Any]]:
    return [np.asarray(picture.image) for picture in job.future.result(30).pictures]


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def alone(pipe: Pipeline, order: Order) -> list[np.ndarray[Any, Any]]:
    image, options = order.images[0], dict(order.options)
    if order.verb == "grid":
        return [np.asarray(pipe.grid(image, "a", order.axes, **options))]  # type: ignore[arg-type]
    call = {"img2img": pipe, "inpaint": pipe.inpaint, "outpaint": pipe.outpaint, "upscale": pipe.upscale}[order.verb]
    result = call(image, *order.masks, "a", **options)  # type: ignore[operator]
    return [np.asarray(picture) for picture in result.images]


def test_what_is_made_under_load_is_what_is_made_alone(
    serve: Serve, order: Make, mask_file: bytes, lone: Pipeline, model: Model
) -> None:
    service = serve(queue_limit=200)
    random = np.random.default_rng(3)
    names = [*VERBS, "img2img", "img2img", "img2img"]
    orders = [
        order_of(
            str(random.choice(names)),
            order,
            mask_file,
            cell=256,
            seed=int(random.integers(4)),
            guidance_scale=float(random.choice([1.0, 4.0])),
            steps=int(random.integers(2, 6)),
        )
        for _ in range(40)
    ]
    jobs = [service.submit(each) for each in orders]
    for job, each in zip(jobs, orders, strict=True):
        for made, wanted in zip(pixels(job), alone(lone, each), strict=True):
            assert np.array_equal(made, wanted), each.verb
    engine = model.stages.denoiser.engine
    assert isinstance(engine, Counting)
    assert max(engine.rows) > 4  # they shared calls


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_of_its_steps_and_of_its_end(
    verb: str, serve: Serve, order: Make, mask_file: bytes, slow: Slow
) -> None:
    service, notices = serve(), list[Notice]()
    slow(0.02)
    job = service.submit(order_of(verb, order, mask_file))
    assert job.total > 0
    job.listen(notices.append, previews=True)
    job.future.result(30)
    until(lambda: notices[-1].kind == END)
    assert notices[-1].data["status"] == DONE
    done = [notice.data["done"] for notice in notices if notice.kind == PROGRESS]
    assert done == sorted(done)
    assert done[-1] == job.done >= job.total
    sizes = [notice.image.size for notice in notices if notice.kind == PREVIEW and notice.image]
    assert sizes


def test_previews_are_decoded_of_the_steps_that_a_listener_wants(
    serve: Serve, order: Make, model: Model, slow: Slow
) -> None:
    decoder = model.stages.vae.decoder = Counting(model.stages.vae.decoder)
    service = serve()
    slow(0.02)
    job, notices = service.submit(order(steps=20)), list[Notice]()
    job.listen(notices.append, previews=lambda step: step["step"] in (5, 10))
    job.future.result(30)
    shown = [notice.data["step"] for notice in notices if notice.kind == "preview"]
    assert shown == [5, 10]
    assert len(decoder.rows) == 3  # with the result


def test_nothing_is_decoded_for_a_preview_where_nobody_listens(serve: Serve, order: Make, model: Model) -> None:
    decoder = model.stages.vae.decoder = Counting(model.stages.vae.decoder)
    service = serve()
    job = service.submit(order())
    job.listen(lambda notice: None)
    job.future.result(30)
    assert len(decoder.rows) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_a_cancelled_job_frees_its_rows_by_the_next_step(
    verb: str, serve: Serve, order: Make, mask_file: bytes, slow: Slow, model: Model
) -> None:
    service = serve()
    slow(0.02)
    job = service.submit(order_of(verb, order, mask_file, steps=200))
    until(lambda: job.done >= 1)
    engine = model.stages.denoiser.engine
    assert isinstance(engine, Counting)
    assert job.cancel()
    calls = len(engine.rows)
    until(lambda: not model.scheduler.tickets)
    time.sleep(0.1)
    assert len(engine.rows) <= calls + (2 if verb == "upscale" else 1)  # whose step has more rows than a call
    assert job.status == CANCELLED
    with pytest.raises(CancelledError):
        job.future.result(1)
    assert not job.cancel()


def test_a_failure_is_its_own_jobs(serve: Serve, order: Make, model: Model, lone: Pipeline) -> None:
    model.scheduler.start()
    text = np.asarray(model.encode_prompt("q")["encoder_hidden_states"])
    model.stages.denoiser.engine = Spoiling(model.stages.denoiser.engine, has_rows_of(text))
    service = serve()
    jobs = [service.submit(order(prompt="q" if index == 3 else "a", seed=index)) for index in range(8)]
    for index, job in enumerate(jobs):
        if index == 3:
            with pytest.raises(ModelOutputError):
                job.future.result(30)
            assert job.document()["error"]["type"] == "model_output"
        else:
            assert np.array_equal(pixels(job)[0], alone(lone, order(seed=index))[0])
    assert [job.status for job in jobs].count(FAILED) == 1


def test_an_engine_that_fails_for_a_while_fails_those_jobs_alone(serve: Serve, order: Make, model: Model) -> None:
    service = serve()
    engine = model.stages.denoiser.engine
    assert isinstance(engine, Counting)
    errors: list[Exception] = [
        EngineError("the driver is gone"),
        RuntimeError("a secret path"),
        OutOfMemoryError("full"),
    ]

    def fail(feeds: Any) -> None:
        raise errors[0]

    for kind, status in (("engine", 500), ("server", 500), ("out_of_memory", 503)):
        engine.before = fail
        job = service.submit(order())
        with pytest.raises(type(errors[0])):
            job.future.result(30)
        error = job.document()["error"]
        assert (error["type"], status_of(errors[0])) == (kind, status)
        assert "secret" not in error["message"]
        engine.before = lambda feeds: None
        assert service.submit(order()).future.result(30)
        errors.pop(0)


def test_of_a_hundred_at_once_as_many_as_fit_are_done_and_the_others_refused_at_once(
    serve: Serve, order: Make, slow: Slow
) -> None:
    service = serve(queue_limit=10)
    slow(0.05)
    gate, waits, jobs, refused = threading.Barrier(20), list[float](), list[Job](), list[RefusedError]()

    def submit(seed: int) -> None:
        if seed < 20:
            gate.wait()
        start = time.perf_counter()
        try:
            jobs.append(service.submit(order(seed=seed, steps=20)))
        except RefusedError as exc:
            waits.append(time.perf_counter() - start)
            refused.append(exc)

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(submit, range(100)))
    assert len(jobs) == 10
    assert len(refused) == 90
    assert {(error.status, error.kind) for error in refused} == {(429, "busy")}
    assert all(error.retry_after and error.retry_after >= 1 for error in refused)
    assert max(waits) < 0.1
    for job in jobs:
        job.future.result(30)
    assert service.submit(order()).future.result(30)


def test_a_place_that_is_left_is_free_again(serve: Serve, order: Make) -> None:
    service = serve(queue_limit=1)
    with service.place(), pytest.raises(RefusedError, match="1 jobs wait"):
        service.place()
    with pytest.raises(InputError):
        service.submit(order(steps=-1))
    assert service.submit(order()).future.result(30)


@pytest.mark.parametrize("verb", VERBS)
def test_a_deadline_counts_from_the_arrival(verb: str, serve: Serve, order: Make, mask_file: bytes, slow: Slow) -> None:
    service = serve(tool_threads=1)
    slow(0.05)
    first = service.submit(order_of("inpaint", order, mask_file, steps=100))
    until(lambda: first.done > 0)
    late = service.submit(order_of(verb, order, mask_file, steps=100, timeout=0.2))
    start = time.monotonic()
    with pytest.raises(RunTimeoutError):
        late.future.result(5)
    assert time.monotonic() - start < 1  # in the queue, too, where the one thread is busy
    assert late.status == FAILED
    first.cancel()


def test_the_time_that_a_body_takes_counts(serve: Serve, order: Make, slow: Slow) -> None:
    service = serve()
    slow(0.05)
    with service.place() as place:
        time.sleep(0.3)
        with pytest.raises(RunTimeoutError):
            service.submit(order(steps=100, timeout=0.25), place=place).future.result(5)


def test_a_key_gives_the_job_of_before(serve: Serve, order: Make) -> None:
    service = serve()
    one = order(fingerprint="1")
    job = service.submit(one, owner="me", key="k")
    assert service.submit(one, owner="me", key="k") is job
    assert service.submit(one, owner="you", key="k") is not job
    job.future.result(30)
    assert service.submit(one, owner="me", key="k") is job
    with pytest.raises(RefusedError, match="another call"):
        service.submit(order(fingerprint="2"), owner="me", key="k")


def test_equal_orders_in_flight_are_worked_on_once_where_both_want_that(serve: Serve, order: Make, slow: Slow) -> None:
    service = serve()
    slow(0.05)
    shared = order(fingerprint="1", share=True)
    first, second = service.submit(shared), service.submit(shared)
    assert first is second
    assert service.submit(order(fingerprint="1")) is not first
    first.release()
    assert not first.future.done()  # the other waits for it
    second.release()
    with pytest.raises(CancelledError):
        first.future.result(5)
    assert service.submit(shared) is not first


def test_another_owner_sees_no_job(serve: Serve, order: Make) -> None:
    service = serve()
    job = service.submit(order(), owner="me")
    assert service.jobs.get(job.id, "me") is job
    with pytest.raises(RefusedError, match="no job"):
        service.jobs.get(job.id, "you")


def test_what_has_ended_is_kept_by_number_and_by_time(serve: Serve, order: Make) -> None:
    service = serve(keep_jobs=3, keep_seconds=0.3)
    jobs = [service.submit(order(seed=seed, steps=1), key=str(seed)) for seed in range(5)]
    for job in jobs:
        job.future.result(30)
    until(lambda: len(service.jobs.ended()) == 3)
    assert all(not job.order.images for job in jobs)
    until(lambda: not service.jobs.ended())
    with pytest.raises(RefusedError):
        service.jobs.get(jobs[-1].id, "")


def test_a_drain_takes_nothing_more_and_loses_nothing(serve: Serve, order: Make, slow: Slow) -> None:
    service = serve()
    slow(0.01)
    jobs = [service.submit(order(seed=seed)) for seed in range(6)]
    drained = threading.Thread(target=service.drain)
    drained.start()
    until(lambda: service.draining)
    with pytest.raises(RefusedError, match="going down") as refused:
        service.submit(order())
    assert refused.value.status == 503
    drained.join(30)
    assert {job.status for job in jobs} == {DONE}
    assert service.drained


def test_a_drain_waits_for_a_call_that_is_being_read(serve: Serve, order: Make) -> None:
    service = serve()
    with service.place() as place:
        service.begin_drain()
        assert not service.drained
        job = service.submit(order(), place=place)
    assert service.drain()
    assert job.status == DONE


def test_a_drain_cancels_what_is_left_in_the_end(serve: Serve, order: Make, slow: Slow) -> None:
    service = serve(drain_seconds=0.1)
    slow(0.05)
    job = service.submit(order(steps=200))
    assert not service.drain()
    assert job.status == CANCELLED


def test_a_listener_that_raises_is_left_out(serve: Serve, order: Make) -> None:
    service = serve()
    job = service.submit(order())

    def broken(notice: Notice) -> None:
        if notice.kind == PROGRESS:
            raise RuntimeError("the event loop is closed")

    job.listen(broken)
    assert job.future.result(30)


def test_a_model_that_is_not_served_is_named(serve: Serve, order: Make) -> None:
    with pytest.raises(InputError, match="unknown model") as error:
        serve().submit(Order("img2img", "faek", (b"",)))
    assert error.value.field == "model"


def test_a_job_of_too_many_evaluations_is_refused(serve: Serve, order: Make) -> None:
    with pytest.raises(InputError, match="evaluations"):
        serve().submit(order(n=64, steps=1000))


@pytest.mark.parametrize("verb", ["img2img", "inpaint"])
def test_a_key_that_floods_does_not_starve_another(
    verb: str, serve: Serve, order: Make, mask_file: bytes, slow: Slow
) -> None:
    service = serve(queue_limit=12, tool_threads=2, api_keys=("a-long-key", "b-long-key", "c-long-key"))
    slow(0.02)
    one = order_of(verb, order, mask_file, steps=20)
    flood = [service.submit(one, owner="flood") for _ in range(10)]
    with pytest.raises(RefusedError, match="jobs wait"):  # a place is left to each of the other keys
        service.submit(one, owner="flood")
    other = service.submit(order_of(verb, order, mask_file, steps=4), owner="other")
    other.future.result(30)
    if verb == "inpaint":  # which waits for a thread
        assert sum(job.status == "queued" for job in flood) >= 4
    for job in flood:
        job.cancel()


def test_with_one_key_nothing_is_kept_free(serve: Serve, order: Make, slow: Slow) -> None:
    service = serve(queue_limit=4, api_keys=("a-long-key",))
    slow(0.05)
    jobs = [service.submit(order(seed=seed), owner="mine") for seed in range(4)]
    assert len(service.jobs) == 4
    for job in jobs:
        job.cancel()


def test_events_that_nobody_reads_are_not_kept(serve: Serve, order: Make, model: Model, slow: Slow) -> None:
    slow(0.01)
    service = serve()
    job = service.submit(order(steps=30))
    until(lambda: job.done >= 5)
    assert [len(ticket.events) for ticket in model.scheduler.tickets] == [0]
    assert len(pixels(job)) == 1
