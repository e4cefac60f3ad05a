"""A run's picture between two steps, to go on from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..denoising.job import JobSnapshot
from ..model.planning import PreparedRequest
from ..requests.options import fixed_on_resume
from ..requests.request import Request

# What the steps before a snapshot hang on besides the table.
SETTLED = fixed_on_resume()


@dataclass(frozen=True, eq=False)
class RunSnapshot:
    """A picture between two steps: what it was made for, and where its job is."""

    request: Request
    job: JobSnapshot


def check_resumable(old: PreparedRequest, new: PreparedRequest, evaluation: int) -> None:
    """Raise `InputError` where the evaluations before `evaluation` would have been others."""
    for name in SETTLED:
        if getattr(old.request, name) != getattr(new.request, name):
            raise InputError(f"another {name} would have altered the steps before the snapshot; start again", name)
    same = old.plan.names == new.plan.names and old.picture.size == new.picture.size
    begun = np.array_equal(old.plan.matrix[:evaluation], new.plan.matrix[:evaluation])
    if not same or not begun or evaluation > len(new.plan):
        raise InputError(
            "the steps before the snapshot would have been others; keep its size, sampler, schedule, steps and "
            "strength, or start again"
        )
