"""What steers every line: a request's prompts as guides, with the weights of classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from ..engines.base import Array
from .job import Guide
from .request import Request
from .sampling.plan import Plan

Encode = Callable[[str], Array]


def guides(request: Request, plan: Plan, encode: Encode, areas: Sequence[Array]) -> list[tuple[Guide, ...]]:
    """The guides of every line of a plan; `areas` are where the regions count, float32 [height, width], on the device.

    Classifier-free guidance: a prompt's weight is g, the negative prompt's 1 - g, and with g at most 1 there is no
    negative prompt. Regions share the prompt's weight by position.
    """
    encode = cache(encode)
    scale = max(request.guidance_scale, 1.0)
    lines = []
    for prompt in _prompts(request, plan):
        asked = [Guide(scale, encode(prompt))]
        if areas:
            texts = [region.prompt for region in request.regions] + [prompt]
            asked = [Guide(scale, encode(text), area) for text, area in zip(texts, areas, strict=True)]
        if scale > 1:
            asked.append(Guide(1 - scale, encode(request.negative_prompt)))
        lines.append(tuple(asked))
    return lines


def _prompts(request: Request, plan: Plan) -> Iterator[str]:
    for step, turn in zip(plan.step, plan.pass_index, strict=True):
        if request.pass_prompts:
            yield request.pass_prompts[turn]
        elif request.prompts:
            yield next(text for share, text in reversed(request.prompts) if step >= share * plan.steps)
        else:
            yield request.prompt


def shares(levels: Sequence[Array]) -> list[Array]:
    """Where each region counts, and what is left for the prompt itself, float32 [height, width]: they sum to 1.

    `levels` are in [0, 1]; where regions come to more than 1 together, they are scaled down to it.
    """
    total = np.maximum(np.sum(levels, axis=0), 1)
    areas = [(level / total).astype(np.float32) for level in levels]
    return [*areas, np.asarray(1 - np.sum(areas, axis=0), np.float32)]
