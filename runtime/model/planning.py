"""Requests checked and fitted to a model: the table that each runs, its picture, its masks, its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from ...bundles.manifest import Bundle
from ...bundles.tensor import Array
from ...errors import InputError
from ..conditioning.conditioning import GUIDANCE, PERTURBED
from ..conditioning.lora.library import LoraLibrary, UsedLora
from ..conditioning.low_rank import MOST_RANK
from ..imaging import resize
from ..imaging.depth import depth_latents
from ..imaging.picture import Picture
from ..provenance.parameters import parameters_text
from ..requests.defaults import sampling
from ..requests.guidance import Prompts, parse_prompts
from ..requests.image_prompts import masks_of
from ..requests.places import InpaintMask, Region
from ..requests.request import Request
from ..requests.sections import idle
from ..requests.settle import settled
from ..sampling.compile import compile_plan
from ..sampling.flow import FlowSchedule
from ..sampling.levels import ModelSchedule
from ..sampling.passes import join
from ..sampling.plan import Plan
from .caching import check_caching
from .controlnet import ControlNets
from .fits import check_fit
from .hints import PreparedControl, prepared_controls
from .image_adapters import ImagePromptAdapters
from .image_prompt import ImagePromptAdapter
from .signatures import unfed

# How many times more or fewer pixels than usual deserve a note.
FAR = 2.25


@dataclass(frozen=True, eq=False)
class PreparedRequest:
    """A request, checked and fitted to the model; nothing of it has run.

    `picture` and the masks are of the size that the model works at, `placement` says how the result comes back from it.
    `parameters` is the text for files. `image_adapter` makes inputs of the request's image prompts, which count where
    `image_masks` are.
    """

    request: Request
    picture: Picture
    placement: resize.Placement
    plan: Plan
    prompts: Prompts
    parameters: str
    inpaint_mask: InpaintMask | None = None
    regions: tuple[Region, ...] = ()
    controls: tuple[PreparedControl, ...] = ()
    depth_latents: Array | None = None
    loras: tuple[UsedLora, ...] = ()
    image_adapter: ImagePromptAdapter | None = None
    image_masks: tuple[Array, ...] = ()


class Planner:
    """Plans and prepares requests for a bundle's model; nothing runs."""

    def __init__(
        self,
        bundle: Bundle,
        schedule: ModelSchedule | FlowSchedule,
        controlnets: ControlNets | None = None,
        loras: LoraLibrary | None = None,
        image_adapters: ImagePromptAdapters | None = None,
    ) -> None:
        self._bundle = bundle
        self._controlnets = controlnets or ControlNets()
        self._loras = loras or LoraLibrary(None)
        self._image_adapters = image_adapters or ImagePromptAdapters(bundle)
        self._facts = bundle.model
        self._schedule = schedule
        self._unfed = unfed(bundle)
        self._compile = lru_cache(maxsize=64)(partial(compile_plan, schedule))

    def plan(self, request: Request, latent_shape: tuple[int, int] | None = None) -> Plan:
        """The table that a request runs; raises `InputError` where there is none.

        `latent_shape`, (height, width), is that of the latents which the model sees at a time; None: the request's.
        Only a schedule that depends on the picture's size looks at it.
        """
        request = settled(request, self._facts.defaults["img2img"])
        sampler, schedule = sampling(self._facts, request.sampler, request.schedule, request.convention)
        shape = (latent_shape or self._latent_shape(request)) if self._schedule.depends_on_size else None
        plans = [
            self._compile(
                sampler=sampler,
                schedule=schedule,
                steps=request.steps,
                strength=strength,
                convention=request.convention,
                eta=request.eta,
                inpaints=request.inpaint_mask is not None,
                latent_shape=shape,
            )
            for strength in request.passes or (request.strength,)
        ]
        return join(plans)

    def prepare(self, request: Request) -> PreparedRequest:
        """What a request comes to; raises `InputError` where this model cannot answer it."""
        facts = self._facts
        if self._unfed:
            raise InputError(
                f"this model's denoiser also takes {', '.join(self._unfed)}, which a request cannot give; start a job "
                "with conditionings that have it (Model.start_job)"
            )
        check_fit(request, facts)
        request = settled(request, facts.defaults["img2img"])
        picture, placement = resize.fit(request.image, request.size, request.fit_mode, facts.multiple)
        self.check_size(picture.size, request.window)
        if request.seed_resize_from and min(request.seed_resize_from) < facts.downscale:
            raise InputError(
                f"seed_resize_from is at least {facts.downscale}x{facts.downscale} pixels with this model",
                "seed_resize_from",
            )
        request, image_adapter = self._with_adapter(request)
        prompts = parse_prompts(request)
        loras = tuple(used for use in prompts.loras if (used := self._loras.use(use)) is not None)
        if request.lora_weight != 1 and not prompts.loras:
            raise idle("lora_weight", "LoRAs", "loras", "--lora FILE")
        _check_ranks(loras)
        plan = self.plan(request)
        check_perturbed(request, self._bundle)
        check_caching(request, plan, self._bundle, loras)
        check_interval(request, self._bundle)
        inpaint_mask, mask = request.inpaint_mask, None
        if inpaint_mask is not None:
            mask = self._fitted(request, inpaint_mask.mask)
            inpaint_mask = replace(inpaint_mask, mask=mask)
        nets, wanted = self._controlnets, request.weighted_controls
        controls = prepared_controls(wanted, nets, picture, placement.size, facts.multiple, mask)
        model_hash = self._bundle.by_role("denoiser").sha256
        return PreparedRequest(
            request,
            picture,
            placement,
            plan,
            prompts,
            parameters_text(request, plan, placement.size, facts, model_hash, [each.text for each in controls], loras),
            inpaint_mask,
            tuple(replace(region, mask=self._fitted(request, region.mask)) for region in request.regions),
            controls,
            self._depth(request),
            loras,
            image_adapter,
            tuple(self._fitted(request, mask) for mask in masks_of(request.image_prompts)),
        )

    def _with_adapter(self, request: Request) -> tuple[Request, ImagePromptAdapter | None]:
        """The request whose image prompts name their adapter, so that its record does, and the adapter."""
        found = self._image_adapters.of(request.image_prompts)
        if found is None:
            return request, None
        name, adapter = found
        named = tuple(replace(prompt, adapter=name) for prompt in request.image_prompts)
        return replace(request, image_prompts=named), adapter

    def check_size(self, size: tuple[int, int], window: int = 0) -> None:
        """Raise `InputError` for a (width, height) that the model does not take, whole or in windows of that side."""
        ranges, facts = self._bundle.by_role("denoiser").ranges, self._facts
        if window % facts.multiple:
            raise InputError(f"this model's windows are multiples of {facts.multiple} pixels, not {window}", "window")
        most = ranges["width"].most * facts.downscale, ranges["height"].most * facts.downscale
        sides = [min(length, window or length) for length in size]
        if any(length > limit for length, limit in zip(sides, most, strict=True)):
            raise InputError(
                f"the picture is {sides[0]}x{sides[1]}, this model takes at most {most[0]}x{most[1]}; "
                "ask for a smaller size, or for windows",
                "size",
            )

    def notes(self, prepared: PreparedRequest) -> tuple[str, ...]:
        """What the user should know of a picture's way through the model."""
        request, notes = prepared.request, list(prepared.picture.notes)
        # What the model sees at once.
        width, height = (min(length, request.window or length) for length in prepared.picture.size)
        usual = self._facts.default_size
        if len(prepared.plan) and not 1 / FAR <= width * height / (usual[0] * usual[1]) <= FAR:
            notes.append(
                f"worked on {width}x{height} pixels, the model is made for {usual[0]}x{usual[1]} and so best at it"
            )
        if request.colour_match and len(prepared.plan):
            notes.append(f"the colours are matched to the input's ({request.colour_match})")
        notes += [note for control in prepared.controls for note in control.notes]
        if request.guidance_scale <= 1 and (request.negative_prompt or request.guidance_rescale or request.mimic_scale):
            notes.append("guidance at most 1 heeds neither the negative prompt nor rescaling and thresholding")
        return tuple(notes)

    def _latent_shape(self, request: Request) -> tuple[int, int]:
        """(height, width) of the latents that the model sees at a time: the picture's, or a window's."""
        facts = self._facts
        sides = (length + -length % facts.multiple for length in request.size or request.image.size)
        width, height = (min(side, request.window or side) // facts.downscale for side in sides)
        return height, width

    def _depth(self, request: Request) -> Array | None:
        """The depth map as the model is shown it."""
        if request.depth is None:
            return None
        fitted = self._fitted(request, request.depth.levels)
        return depth_latents(fitted, *(length // self._facts.downscale for length in fitted.shape))

    def _fitted(self, request: Request, mask: Array) -> Array:
        """A mask brought to the model's size the way the picture is."""
        grey = Picture(np.repeat(mask[..., None], 3, axis=2))
        return resize.fit(grey, request.size, request.fit_mode, self._facts.multiple)[0].pixels[..., 0]


def _check_ranks(loras: Sequence[UsedLora]) -> None:
    rank = sum(used.denoiser.rank for used in loras if used.denoiser)
    if rank > MOST_RANK:
        raise InputError(
            f"the LoRAs have rank {rank} together, at most {MOST_RANK} is taken; leave some out, or export a bundle "
            "with them, by overpaint export --merge-lora",
            "loras",
        )


def check_perturbed(request: Request, bundle: Bundle) -> None:
    """Raise `InputError` for perturbed attention of a model that cannot go without attention."""
    if request.perturbed_attention:
        check_perturbs(bundle)


def check_perturbs(bundle: Bundle) -> None:
    """Raise `InputError` where a model cannot go without attention in its middle."""
    if PERTURBED not in bundle.by_role("denoiser").optional:
        raise InputError(
            f"perturbed attention needs an input that {bundle.model.name!r} was exported without; export its "
            "checkpoint again with --adapters perturbed",
            "perturbed_attention",
        )


def check_interval(request: Request, bundle: Bundle) -> None:
    """Raise `InputError` for a guidance interval of a model that takes its guidance as an input."""
    if request.guidance_interval and any(spec.name == GUIDANCE for spec in bundle.by_role("denoiser").inputs):
        raise InputError(
            f"{bundle.model.name!r} takes its guidance as an input, without rows to leave out; give no interval",
            "guidance_interval",
        )
