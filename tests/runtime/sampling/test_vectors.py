"""Plans under the conventions `a1111` and `comfy` beside what those programs did with their own code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import pytest

from overpaint.errors import InputError
from tests.vectors.compare import PROGRAMS, compare, of, ours, vectors
from tests.vectors.exceptions import allowed
from tests.vectors.toy import Vector

SAMPLERS = [
    (program, sampler)
    for program in PROGRAMS
    for sampler in sorted({ours(program, vector.sampler) or "" for vector in vectors(program)} - {""})
]
# Every so many cases, a number that meets all schedules, steps and strengths in turn.
SAMPLE = 41


def check(program: str, sampler: str, cases: Iterable[Vector]) -> None:
    for vector in cases:
        exception = allowed(program, sampler, ours(program, vector.schedule) or "automatic", vector)
        if exception and exception.refused:
            with contextlib.suppress(InputError):
                assert compare(program, vector).equal, vector.case
            continue
        found = compare(program, vector)
        if not found.equal:
            assert exception is not None, found
            assert not found.evaluations, found
            assert found.times < exception.times, found
            assert found.latents < exception.latents, found


@pytest.mark.parametrize(("program", "sampler"), SAMPLERS)
def test_some_cases_are_the_programs(program: str, sampler: str) -> None:
    check(program, sampler, list(of(program, sampler))[::SAMPLE])


@pytest.mark.slow
@pytest.mark.parametrize(("program", "sampler"), SAMPLERS)
def test_every_case_is_the_programs(program: str, sampler: str) -> None:
    check(program, sampler, of(program, sampler))
