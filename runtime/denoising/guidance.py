"""The outputs of several conditionings as one: classifier-free guidance, areas, and bounds on its spread and range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace_of
from ..conditioning.conditioning import Conditioning
from .state import lincomb

TINY = 1e-12


def combined(
    conditionings: Sequence[Conditioning], outputs: Sequence[Array], rescale: float, percentile: float | None = None
) -> Array:
    """The weighted sum of the conditionings' outputs, with a `percentile` of the range that their mimic weights give,
    its spread drawn towards the first one's by `rescale`.

    The rescaling is equation 15-16 of Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2023.
    Its reductions are kernels of their own on a GPU, whose results stay there.
    """
    terms = [
        output if each.area is None else output * each.area for each, output in zip(conditionings, outputs, strict=True)
    ]
    guided = lincomb([each.weight for each in conditionings], terms)
    if percentile is not None and len(conditionings) > 1:
        guided = thresholded(guided, lincomb([each.mimic for each in conditionings], terms), percentile)
    if not rescale or len(conditionings) < 2:
        return guided
    matched = guided * (outputs[0].std(ddof=1) / guided.std(ddof=1))
    mixed: Array = rescale * matched + (1 - rescale) * guided
    return mixed.astype(np.float32, copy=False)


def thresholded(guided: Array, mimic: Array, percentile: float) -> Array:
    """A guided output [channels, height, width] in the range of a less guided one, `mimic`.

    Of each channel, less its mean, the values beyond the `percentile` (0 to 1) of their magnitudes are clipped, unless
    those of `mimic` reach further, and all scaled to end where those of `mimic` do. Saharia et al., "Photorealistic
    Text-to-Image Diffusion Models with Deep Language Understanding", arXiv:2205.11487, section 2.3, for latents, whose
    range is not that of pixels but what a lower guidance scale has.
    """
    xp, plane = namespace_of(guided), (-2, -1)
    means = guided.mean(plane, keepdims=True)
    centred = guided - means
    own = abs(mimic - mimic.mean(plane, keepdims=True)).max(plane, keepdims=True)
    limit = xp.maximum(own, xp.quantile(abs(centred), percentile, axis=plane, keepdims=True))
    clipped = xp.clip(centred, -limit, limit) * (own / xp.maximum(limit, np.float32(TINY)))
    made: Array = (clipped + means).astype(np.float32, copy=False)
    return made
