"""How the service is measured: the load is the same for all ways, and a newcomer's wait is counted in passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.client import calls
from benchmarks.serving.drive import WAYS, Record, Subject, one_at_a_time, whole_requests
from benchmarks.serving.figures import HEADER, prompt, row
from benchmarks.serving.load import Mix, at_once, items, poisson
from benchmarks.serving.meter import Cost
from overpaint.runtime.model.load import load_model
from tests.support.bundles import fake_bundle

MIX = Mix(16, steps=(1, 4))


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    made = Subject(load_model(fake_bundle(tmp_path / "fake").folder, engine="fake"))
    yield made
    made.close()


def test_jobs_are_the_same_but_for_pictures_and_prompts(subject: Subject) -> None:
    one, other = (items(subject.model, 12, MIX, seed=1, fresh=fresh) for fresh in (0, 1))
    assert [(each.key, each.seed, each.watched) for each in one] == [
        (each.key, each.seed, each.watched) for each in other
    ]
    assert all(a.order.prompt != b.order.prompt for a, b in zip(one, other, strict=True))
    assert len({each.seed for each in one}) == 12


def test_a_poisson_process_has_its_rate() -> None:
    times = poisson(4000, 20.0)
    assert times == sorted(times)
    assert 4000 / times[-1] == pytest.approx(20, rel=0.1)


def test_more_rows_cost_less_each() -> None:
    cost = Cost(4.9e-3, 1.7e-3)
    assert [cost(rows) * 1e3 for rows in (1, 2)] == pytest.approx([4.9, 6.6])


@pytest.mark.parametrize("way", WAYS)
def test_every_way_does_all_jobs(subject: Subject, way: str) -> None:
    run = subject.run(way, items(subject.model, 10, MIX), at_once(10))
    assert len(run.records) == len(run.waits) == 10
    assert all(record.seconds > 0 for record in run.records)
    assert len(row("all", run)) == len(HEADER)


def test_one_at_a_time_shares_nothing(subject: Subject) -> None:
    run = subject.run("one at a time", items(subject.model, 6, MIX), at_once(6))
    assert run.passes == sum(record.item.evaluations for record in run.records)
    assert max(run.rows) <= 2


def test_together_they_share_passes(subject: Subject) -> None:
    run = subject.run("overpaint", items(subject.model, 12, MIX), at_once(12))
    assert run.passes < sum(record.item.evaluations for record in run.records)
    assert prompt(run, 32)[0] == 12


def test_a_batch_of_whole_requests_is_of_one_kind(subject: Subject) -> None:
    waiting = [Record(item, 0.0, 0) for item in items(subject.model, 40, MIX)]
    batch = whole_requests(waiting)
    assert {record.item.key for record in batch} == {waiting[0].item.key}
    assert len(batch) > 1
    assert one_at_a_time(waiting) == [waiting[0]]


def test_calls_run_the_steps_that_they_say() -> None:
    for call in calls(50, 16, (1, 30), 7.0, seed=3):
        assert int(int(call.fields["steps"]) * float(call.fields["strength"]) + 1e-9) >= call.executed
