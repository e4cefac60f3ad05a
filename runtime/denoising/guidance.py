"""The outputs of several conditionings as one: classifier-free guidance, areas, and the rescaling of its spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundles.tensor import Array
from ..conditioning.conditioning import Conditioning
from .state import lincomb


def combined(conditionings: Sequence[Conditioning], outputs: Sequence[Array], rescale: float) -> Array:
    """The weighted sum of the conditionings' outputs, its spread drawn towards the first one's by `rescale`.

    The rescaling is equation 15-16 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
    Its reductions are kernels of their own on a GPU, whose results stay there.
    """
    terms = [
        output if each.area is None else output * each.area for each, output in zip(conditionings, outputs, strict=True)
    ]
    guided = lincomb([each.weight for each in conditionings], terms)
    if not rescale or len(conditionings) < 2:
        return guided
    matched = guided * (outputs[0].std(ddof=1) / guided.std(ddof=1))
    mixed: Array = rescale * matched + (1 - rescale) * guided
    return mixed.astype(np.float32, copy=False)
