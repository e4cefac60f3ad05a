"""What steers every line: a request's prompts as conditionings, with the weights of classifier-free guidance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from ..denoising.job import Conditioning
from ..requests.request import Request
from ..sampling.plan import Plan
from .prompt.a1111 import SECOND_ORDER
from .prompt.prompt import Evaluations, Prompt, from_steps, parse
from .prompt.tree import Phrase

Encode = Callable[[Phrase], Array]
_NOTHING = 1e-9
Timeline = list[tuple[float, list[Phrase]]]
"""Of every part of a prompt its weight, and what it says at every evaluation of a pass."""


def conditionings(
    request: Request, plan: Plan, encode: Encode, areas: Sequence[Array]
) -> list[tuple[Conditioning, ...]]:
    """The conditionings of every line of a plan; `areas` are where the regions count and where the prompt does, float32
    [height, width] on the device, or none.

    A part of a prompt has g times its weight, the negative prompt the rest to 1, and is left out where that is nothing
    (Liu et al., arXiv:2206.01714, equation 11). The prompts' steps begin anew in every pass.
    """
    encode = cache(encode)
    scale = max(request.guidance_scale, 1.0)
    passes = [_Pass(request, plan, index) for index in range(plan.passes)]
    lines = []
    for line, index in enumerate(plan.pass_index):
        at = passes[index]
        now = line - at.first
        said: list[tuple[Phrase, int | None, float]] = [
            (phrases[now], place, scale * weight)
            for place, timeline in enumerate(at.timelines)
            for weight, phrases in timeline
        ]
        said.append((at.negative[now], None if areas else 0, 1 - scale * sum(weight for weight, _ in at.timelines[-1])))
        lines.append(
            tuple(
                Conditioning(weight, encode(phrase), areas[place] if areas and place is not None else None)
                for (phrase, place), weight in _summed(said).items()
                if abs(weight) > _NOTHING
            )
        )
    return lines


def _summed(said: Sequence[tuple[Phrase, int | None, float]]) -> dict[tuple[Phrase, int | None], float]:
    """The weights of what is said at each place; what is said twice, as by an empty prompt and an empty negative one,
    is one conditioning."""
    totals: dict[tuple[Phrase, int | None], float] = defaultdict(float)
    for phrase, place, weight in said:
        totals[phrase, place] += weight
    return totals


class _Pass:
    """What the prompts say at every evaluation of one pass: those of the regions, then the request's own."""

    def __init__(self, request: Request, plan: Plan, index: int) -> None:
        lines = np.flatnonzero(plan.pass_index == index)
        self.first = int(lines[0])
        at = _evaluations(request, plan, lines, index)
        self.timelines = [_timeline(prompt, at) for prompt in (*_regional(request), _own(request, index))]
        [(_, self.negative)] = _timeline(negative(request), at)


def _evaluations(request: Request, plan: Plan, lines: Array, index: int) -> Evaluations:
    steps = plan.step[lines] - plan.step[lines[0]]
    # A1111 counts within the whole schedule, most of which img2img may not run.
    whole = request.habit.prompt_steps == "evaluations"
    count = max(int(steps[-1]) + 1, request.steps if whole else 0)
    total = request.steps * (2 if plan.sampler in SECOND_ORDER else 1)
    return Evaluations(tuple(map(int, steps)), count, total, index)


def _timeline(prompt: Prompt, at: Evaluations) -> Timeline:
    return [(part.weight, part.phrases(at)) for part in prompt.parts]


def _regional(request: Request) -> Iterator[Prompt]:
    for region in request.regions:
        yield parse(region.prompt, request.syntax, request.broken_prompt)


def _own(request: Request, index: int) -> Prompt:
    way = request.syntax, request.broken_prompt
    if request.prompts:
        return from_steps(request.prompts, *way)
    return parse(request.pass_prompts[index] if request.pass_prompts else request.prompt, *way)


def negative(request: Request) -> Prompt:
    """The negative prompt; raises `InputError` for one that is composed."""
    prompt = parse(request.negative_prompt, request.syntax, request.broken_prompt, composed=False)
    if len(prompt.parts) > 1:
        raise InputError("AND composes prompts, not negative prompts; join what is not wanted with commas")
    return prompt


def check_prompts(request: Request) -> None:
    """Raise `InputError` for a prompt that is broken or weighted beyond all measure, and for regions whose parts
    have not the weights of the others.

    The negative prompt has one weight everywhere, so what the prompts weigh has to be the same everywhere.
    """
    own = [_own(request, index) for index in range(max(len(request.passes), 1))]
    prompts = (*_regional(request), *own)
    for prompt in (*prompts, negative(request)):
        prompt.check_weights()
    totals = [sum(part.weight for part in prompt.parts) for prompt in prompts]
    if request.regions and not np.allclose(totals, totals[0]):
        shown = ", ".join(f"{total:g}" for total in totals)
        raise InputError(f"the weights of the regions' prompts and the prompt sum to {shown}; make the sums equal")


def shares(levels: Sequence[Array]) -> list[Array]:
    """Where each region counts, and what is left for the prompt itself, float32 [height, width]: they sum to 1.

    `levels` are in [0, 1]; where regions come to more than 1 together, they are scaled down to it.
    """
    total = np.maximum(np.sum(levels, axis=0), 1)
    areas = [(level / total).astype(np.float32) for level in levels]
    return [*areas, np.asarray(1 - np.sum(areas, axis=0), np.float32)]
