"""Requests answered by a pipeline, alone and by tickets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from overpaint import Pipeline, Request
from overpaint.runtime.model.tickets import Ticket

Pixels = NDArray[np.uint8]


def alone(pipe: Pipeline, request: Request) -> Pixels:
    """The picture of a request that nothing shares its calls with."""
    run = pipe.run([request])
    for _ in run:
        pass
    return np.asarray(run.result().images[0])


def painted(ticket: Ticket[Any]) -> Pixels:
    """The picture of a ticket that is done; raises what it failed with."""
    return np.asarray(ticket.future.result(0).image)
