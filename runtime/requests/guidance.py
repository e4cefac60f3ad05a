"""What steers every evaluation: a request's prompts as phrases, with the weights of classifier-free guidance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError
from ...loras.weights import LoraUse, parse_use, take_tags
from ..conditioning.prompt.a1111 import SECOND_ORDER
from ..conditioning.prompt.prompt import EXACT, Evaluations, Prompt, from_steps, parse
from ..conditioning.prompt.tree import Phrase
from ..sampling.plan import Plan
from .image_prompts import Parts, RowImages, parts_of
from .request import Request

_NOTHING = 1e-9
A1111_SYNTAX = "a1111"
"""How the syntaxes begin in which prompts name LoRAs."""
Timeline = list[tuple[float, list[Phrase]]]
"""Of every part of a prompt its weight, and what it says at every evaluation of a pass."""


@dataclass(frozen=True)
class Prompts:
    """A request's prompts, parsed: its own of every pass, those of the regions, and the negative one; and the LoRAs
    that the request and they name."""

    own: tuple[Prompt, ...]
    regions: tuple[Prompt, ...]
    negative: Prompt
    loras: tuple[LoraUse, ...] = ()


@dataclass(frozen=True)
class WeightedPhrase:
    """What one row of an evaluation says, what its output counts, and where: the indices of a region's area and of an
    image prompt's, None everywhere. `images` are the image prompts that it shows.

    `mimic` is what it counts where guidance has its mimic scale. `perturbed`: does the model go without attention in
    its middle? `negative`: is it the negative prompt's row, where a model is given other things beside that? `shown`:
    is the picture shown to a model that edits by instruction?
    """

    phrase: Phrase
    weight: float
    place: int | None = None
    negative: bool = False
    shown: bool = True
    part: int | None = None
    images: RowImages | None = None
    mimic: float = 0.0
    perturbed: bool = False


def parse_prompts(request: Request) -> Prompts:
    """Parse a request's prompts.

    In A1111's syntax they may name LoRAs, which count everywhere and in all steps: A1111 takes these out of the text.
    Of the negative prompt it does not, which only its exact syntax follows. Raises `InputError` for a prompt that is
    broken or weighted beyond all measure, a negative one that is composed, and regions whose parts have not the weights
    of the others: the negative prompt has one weight everywhere, so what the prompts weigh has to be the same
    everywhere.
    """
    way = request.syntax, request.broken_prompt
    tags = _Tags(request)
    if request.prompts:
        steps = [(share, tags.text(prompt)) for share, prompt in request.prompts]
        own = (from_steps(steps, *way),) * max(len(request.passes), 1)
    elif request.pass_prompts:
        own = tuple(parse(tags.text(prompt), *way) for prompt in request.pass_prompts)
    else:
        own = (parse(tags.text(request.prompt), *way),) * max(len(request.passes), 1)
    regions = tuple(parse(tags.text(region.prompt), *way) for region in request.regions)
    refused = request.negative_prompt
    negative = parse(refused if request.syntax in EXACT else tags.text(refused), *way, composed=False)
    if len(negative.parts) > 1:
        raise InputError(
            "AND composes prompts, not negative prompts; join what is not wanted with commas", "negative_prompt"
        )
    for prompt in (*regions, *own, negative):
        prompt.check_weights()
    totals = [sum(part.weight for part in prompt.parts) for prompt in (*regions, *own)]
    if regions and not np.allclose(totals, totals[0]):
        shown = ", ".join(f"{total:g}" for total in totals)
        raise InputError(
            f"the weights of the regions' prompts and the prompt sum to {shown}; make the sums equal", "regions"
        )
    return Prompts(own, regions, negative, tuple(use.times(request.lora_weight) for use in tags.uses))


class _Tags:
    """Takes LoRAs out of a request's prompts, and keeps them, each once, after those that the request itself names."""

    def __init__(self, request: Request) -> None:
        self._read = request.syntax.startswith(A1111_SYNTAX)
        self.uses = dict.fromkeys(map(parse_use, request.loras))

    def text(self, prompt: Any) -> Any:
        """A prompt without its LoRAs."""
        if not self._read or not isinstance(prompt, str):
            return prompt
        text, uses = take_tags(prompt)
        self.uses |= dict.fromkeys(uses)
        return text


@dataclass(frozen=True)
class Guidance:
    """How a model is guided: by rows of text and of the negative prompt, which are `apart` where it is given other
    things beside that; with `image`, the scale of the picture's guidance (InstructPix2Pix); or `embedded`, by an input
    of its own, without rows."""

    apart: bool = False
    image: float | None = None
    embedded: bool = False


def weighted_phrases(
    request: Request, prompts: Prompts, plan: Plan, guidance: Guidance = Guidance()
) -> list[tuple[WeightedPhrase, ...]]:
    """The phrases of every evaluation of a plan.

    A part of a prompt has g times its weight, the negative prompt the rest to 1, and is left out where that is nothing
    (Liu et al., arXiv:2206.01714, equation 11). g is 1 outside of the guidance interval (Kynkäänniemi et al.,
    arXiv:2404.07724, by shares of the steps instead of noise levels), so that the prompt is alone there. The prompts'
    steps begin anew in every pass. Where there are regions, places 0 ... n - 1 are theirs and n is where the prompt
    itself counts. A picture's guidance g' splits the rest: g' less the prompt's weights where the picture is shown,
    1 - g' where it is not (Brooks et al., arXiv:2211.09800, equation 3). Image prompts are in all rows, one for each of
    their areas; the negative prompt's have what stands for no picture.
    """
    passes = [_Pass(request, prompts, plan, index) for index in range(plan.passes)]
    parts = parts_of(request.image_prompts, plan)
    made = []
    for evaluation, index in enumerate(plan.pass_index):
        at = passes[index]
        now = evaluation - at.first
        guided = at.guided[now] and not guidance.embedded
        scale = max(request.guidance_scale, 1.0) if guided else 1.0
        mimic = scale if request.mimic_scale is None or not guided or scale == 1 else request.mimic_scale
        phrases = [
            WeightedPhrase(phrases[now], scale * weight, place if prompts.regions else None, mimic=mimic * weight)
            for place, timeline in enumerate(at.timelines)
            for weight, phrases in timeline
        ]
        total = sum(weight for weight, _ in at.timelines[-1])
        rest = WeightedPhrase(at.negative[now], 1 - scale * total, negative=guidance.apart, mimic=1 - mimic * total)
        against = [rest]
        if guidance.image is not None:
            without = 1 - guidance.image
            against = [_less(rest, without), replace(rest, weight=without, mimic=without, shown=False)]
        if request.perturbed_attention and at.guided[now]:
            phrases = _perturbed(phrases, request.perturbed_attention / scale)
        own = parts[evaluation]
        made.append(_summed([*_with_images(phrases, own), *_with_images(against, own, negative=True)]))
    return made


def _less(phrase: WeightedPhrase, weight: float) -> WeightedPhrase:
    return replace(phrase, weight=phrase.weight - weight, mimic=phrase.mimic - weight)


def _perturbed(phrases: Sequence[WeightedPhrase], share: float) -> list[WeightedPhrase]:
    """The phrases, guided away from what each is without attention by a share of its weight (Ahn et al.,
    "Self-Rectifying Diffusion Sampling with Perturbed-Attention Guidance", arXiv:2403.17377, equation 15)."""
    away = [replace(each, weight=-share * each.weight, mimic=-share * each.weight, perturbed=True) for each in phrases]
    return [*(_less(each, other.weight) for each, other in zip(phrases, away, strict=True)), *away]


def _with_images(phrases: Sequence[WeightedPhrase], parts: Parts, negative: bool = False) -> list[WeightedPhrase]:
    """The phrases with the image prompts that count where they do."""
    if not parts:
        return list(phrases)
    return [
        replace(each, part=part, images=RowImages(prompts, negative) if prompts else None)
        for each in phrases
        for part, prompts in parts
    ]


def _summed(phrases: Sequence[WeightedPhrase]) -> tuple[WeightedPhrase, ...]:
    """The same with each phrase once a place: an empty prompt and an empty negative one are one row, where they
    show the same image prompts."""
    totals: dict[WeightedPhrase, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    for each in phrases:
        own = replace(each, weight=0.0, mimic=0.0)
        totals[own] = totals[own][0] + each.weight, totals[own][1] + each.mimic
    return tuple(
        replace(each, weight=weight, mimic=mimic) for each, (weight, mimic) in totals.items() if abs(weight) > _NOTHING
    )


class _Pass:
    """What the prompts say at every evaluation of one pass: those of the regions, then the request's own."""

    def __init__(self, request: Request, prompts: Prompts, plan: Plan, index: int) -> None:
        evaluations = np.flatnonzero(plan.pass_index == index)
        self.first = int(evaluations[0])
        self.guided = _guided(request, plan, evaluations)
        at = _evaluations(request, plan, evaluations, index)
        self.timelines = [_timeline(prompt, at) for prompt in (*prompts.regions, prompts.own[index])]
        [(_, self.negative)] = _timeline(prompts.negative, at)


def _guided(request: Request, plan: Plan, evaluations: Array) -> list[bool]:
    """Whether guidance counts in each evaluation of a pass."""
    steps = plan.step[evaluations] - plan.step[evaluations[0]]
    begin, end = (*(request.guidance_interval or (0.0,)), 1.0)[:2]
    shares = steps / (steps[-1] + 1)
    return [bool(share >= begin and (share < end or end == 1)) for share in shares]


def _evaluations(request: Request, plan: Plan, evaluations: Array, index: int) -> Evaluations:
    steps = plan.step[evaluations] - plan.step[evaluations[0]]
    # A1111 counts within the whole schedule, most of which img2img may not run.
    whole = request.habit.prompt_steps == "evaluations"
    count = max(int(steps[-1]) + 1, request.steps if whole else 0)
    total = request.steps * (2 if plan.sampler in SECOND_ORDER else 1)
    return Evaluations(tuple(map(int, steps)), count, total, index)


def _timeline(prompt: Prompt, at: Evaluations) -> Timeline:
    return [(part.weight, part.phrases(at)) for part in prompt.parts]


def shares(masks: Sequence[Array]) -> list[Array]:
    """Where each region counts, and what is left for the prompt itself, float32 [height, width]: they sum to 1.

    `masks` are in [0, 1]; where regions come to more than 1 together, they are scaled down to it.
    """
    total = np.maximum(np.sum(masks, axis=0), 1)
    areas = [(mask / total).astype(np.float32) for mask in masks]
    return [*areas, np.asarray(1 - np.sum(areas, axis=0), np.float32)]
