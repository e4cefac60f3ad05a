"""How a picture was made, as the parameters text that A1111 and other programs read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...bundles.facts import ModelFacts
from ...loras.weights import parse_use
from ...version import __version__
from ..conditioning.lora.library import UsedLora
from ..imaging.metadata import Parameters, format_parameters
from ..requests.defaults import sampling
from ..requests.guidance import A1111_SYNTAX
from ..requests.request import Request
from ..sampling.names import SCHEDULES, a1111_eta, a1111_labels, find_schedule, resolve
from ..sampling.plan import Plan
from .control_texts import ControlText

A1111_NOISE = {"cpu": "CPU", "gpu": "NV"}


def parameters_text(
    request: Request,
    plan: Plan,
    size: tuple[int, int],
    facts: ModelFacts,
    model_hash: str,
    controls: Sequence[ControlText] = (),
    loras: Sequence[UsedLora] = (),
) -> str:
    """The text for a request with a number for everything; `size` is the result's (width, height), `controls` are its
    ControlNets.

    LoRAs that the prompts do not name are added to the prompt, as A1111 and others look for them there.
    """
    named = resolve(*sampling(facts, request.sampler, request.schedule, request.convention))[1]
    # A program's own timesteps are no schedule that has a name.
    own = "" if named is None and plan.sampler in request.habit.by_timesteps else plan.schedule
    sampler, schedule = a1111_labels(plan.sampler, own)
    extra = {"Schedule name": own} if own in SCHEDULES and find_schedule(schedule) != own else {}
    return format_parameters(
        Parameters(
            prompt=_named(request, loras),
            negative_prompt=request.negative_prompt,
            steps=request.steps,
            sampler=sampler,
            schedule_type=schedule,
            cfg_scale=request.guidance_scale,
            seed=request.seed,
            size=size,
            model_hash=model_hash[:10],
            model=facts.name,
            denoising_strength=None if request.passes else request.strength,
            clip_skip=request.clip_skip + 1,
            extra=(*extra.items(), *_extra(request, plan), *_controls(controls), *_hashes(loras)),
            version=f"overpaint {__version__}",
        )
    )


def _controls(controls: Sequence[ControlText]) -> Iterator[tuple[str, str]]:
    for index, control in enumerate(controls):
        yield f"ControlNet {index}", str(control)


def _named(request: Request, loras: Sequence[UsedLora]) -> str:
    """The prompt with the LoRAs that the request names by itself and that count, all where their weight is 0."""
    own = dict.fromkeys(map(parse_use, request.loras)) if request.syntax.startswith(A1111_SYNTAX) else ()
    used = {each.use for each in loras}
    counting = [use for use in own if not request.lora_weight or use.times(request.lora_weight) in used]
    return "".join([request.prompt, *map(str, counting)])


def _hashes(loras: Sequence[UsedLora]) -> Iterator[tuple[str, str]]:
    """As A1111's extension for LoRAs writes them."""
    if loras:
        yield "Lora hashes", ", ".join(f"{used.use.name}: {used.short_hash}" for used in loras)


def _extra(request: Request, plan: Plan) -> Iterator[tuple[str, str]]:
    """What else the request says, by the names that A1111 and its extensions have for it."""
    yield "RNG", A1111_NOISE.get(request.noise_kind, request.noise_kind)
    yield "Strength convention", request.convention
    yield "Posterior", request.latents_from
    yield "Resize", request.fit_mode
    if request.eta is not None:
        yield a1111_eta(plan.sampler), str(request.eta)
    if request.variation_strength:
        yield "Variation seed", str(request.variation_seed)
        yield "Variation seed strength", str(request.variation_strength)
    if request.seed_resize_from:
        yield "Seed resize from", "x".join(map(str, request.seed_resize_from))
    if request.eta_noise_seed_delta:
        yield "ENSD", str(request.eta_noise_seed_delta)
    if request.passes:
        yield "Passes", ", ".join(map(str, request.passes))
        yield "Between passes", "pixels" if request.through_pixels else "latents"
    if request.colour_match:
        yield "Colour match", request.colour_match
    if request.guidance_rescale:
        yield "CFG Rescale phi", str(request.guidance_rescale)
    if request.mimic_scale is not None:
        yield "Mimic scale", str(request.mimic_scale)
        yield "Threshold percentile", f"{100 * request.threshold_percentile:.12g}"
    if request.perturbed_attention:
        yield "Perturbed attention", str(request.perturbed_attention)
    if request.guidance_interval:
        yield "Guidance interval", ", ".join(map(str, request.guidance_interval))
    if request.lora_weight != 1:
        yield "Lora weight", str(request.lora_weight)
    if request.cache:
        yield "Cache", request.cache
    if request.image_guidance_scale is not None:
        yield "Image CFG scale", str(request.image_guidance_scale)
    if request.drift_correction:
        yield "Drift correction", "True"
    if request.weighting:
        yield "Weighting", request.weighting
    if request.prompt_syntax:
        yield "Prompt syntax", request.prompt_syntax
