"""ControlNets of conditionings as the parts of a job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bundles.tensor import Array
from ..engines.arrays import to_device
from ..runtime.denoising.job import JobControl
from ..runtime.model.hints import hint_inputs
from ..runtime.model.model import Model
from ..runtime.sampling.plan import Plan
from .guided_times import percent_sigma
from .guiding import Steered
from .scaling import resized
from .values import Hint


def controls(
    model: Model, plan: Plan, steered: Sequence[Sequence[Steered]], sides: tuple[int, ...], item: int
) -> list[JobControl]:
    """The ControlNets of a job, each hint once; raises `InputError` for a net of another family.

    A hint is scaled to the picture's size without smoothing, its middle (comfy/controlnet.py).
    """
    hints = {id(hint): hint for those in steered for _, own in those for hint in own}
    return [_control(model, plan, steered, hint, sides, item) for hint in hints.values()]


def _control(
    model: Model, plan: Plan, steered: Sequence[Sequence[Steered]], hint: Hint, sides: tuple[int, ...], item: int
) -> JobControl:
    net = hint.net.net
    net.check(model.bundle)
    facts = net.bundle.model
    kind = facts.control_type(hint.net.kind)
    downscale, device = model.bundle.model.downscale, model.stages.denoiser.engine.device
    weights = (float(hint.strength),) * len(facts.channels)
    first, last = (percent_sigma(model.schedule, share) for share in (hint.start, hint.end))

    planes = _planes(hint.image, item, sides, downscale)

    def of(sigma: float, own: Sequence[Hint]) -> tuple[float, ...] | None:
        return weights if last <= sigma <= first and any(each is hint for each in own) else None

    return JobControl(
        net.denoiser,
        {name: to_device(array, device) for name, array in hint_inputs(net, planes, kind).items()},
        [[of(float(sigma), own) for _, own in those] for sigma, those in zip(plan.sigmas, steered, strict=True)],
    )


def _planes(image: Array, item: int, sides: tuple[int, ...], downscale: int) -> Array:
    """A picture of a batch as float32 [3, height, width] of the picture's size in pixels."""
    planes = image[item % len(image)][None, ..., :3].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(
        resized(planes, sides[1] * downscale, sides[0] * downscale, "nearest-exact", "center")[0]
    )
