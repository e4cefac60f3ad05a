"""What is asked for, and what comes back; all cross-field checks are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from PIL import Image

from ...bundles.tensor import Array
from ...errors import InputError
from ..conditioning.prompt.emphasis import WEIGHTINGS
from ..conditioning.prompt.prompt import BROKEN, SYNTAXES
from ..conventions.convention import Convention, convention
from ..imaging.compose import Certificate
from ..imaging.mask import LATENT_MODES
from ..imaging.match import METHODS as COLOUR_MATCHES
from ..imaging.picture import MAX_SIDE, Picture
from ..imaging.resize import MODES as RESIZE_MODES
from ..imaging.soft import Soft
from ..sampling.names import find_schedule, resolve
from ..sampling.noise import KINDS as NOISE_KINDS
from ..sampling.noise import drawn
from ..sampling.plan import Plan
from ..sampling.strength import CONVENTIONS, from_noise
from . import checks
from .defaults import OWN, Times

POSTERIORS = ("sample", "mode")
CONTENTS = ("original", "noise", "nothing")


@dataclass(frozen=True, eq=False)
class InpaintMask:
    """Which of a picture's pixels may change: `mask` uint8 [height, width], 255 where they may, 0 where not.

    With `differential` the levels between are strengths of their own: 128 is half the request's. With `soft` above 0
    they are how much of the new latents counts, less where there is much noise and more towards the end (see
    `step_hooks.Keep`, and under A1111's convention `blend.Blend`, whose other settings are `soft_settings`). With
    neither, 128 and more is all. `content` is what the latents begin with there: the original's, noise alone, or
    nothing (zeros). `latent_mask` is how the mask comes to the latents' size, see `imaging.mask.to_latents`; levels
    between always as means, or as A1111 scales them.
    """

    mask: Array
    differential: bool = False
    soft: float = 0.0
    content: str = "original"
    latent_mask: str = "diffusers"
    soft_settings: Soft | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for a mask of another kind, an unknown content, and levels that are to mean two things."""
        checks.mask("an inpaint mask", self.mask)
        checks.number("soft", self.soft, 0, 8)
        if self.differential and self.soft:
            raise InputError(
                "the levels of a mask are strengths or a soft edge, not both; leave out differential or soft"
            )
        checks.choice("masked content", self.content, CONTENTS)
        checks.choice("latent mask", self.latent_mask, LATENT_MODES)


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a picture with a prompt of its own: `mask` uint8 [height, width] says how much of it counts where."""

    prompt: str
    mask: Array

    def __post_init__(self) -> None:
        """Raise `InputError` for a mask of another kind and a prompt that is no text."""
        checks.text("a region's prompt", self.prompt)
        checks.mask("a region's mask", self.mask)


@dataclass(frozen=True)
class Request:
    """One picture to repaint.

    `strength`, `steps` and `guidance_scale` are the model's own where nothing is said, and may be `defaults.Times`.

    `strength` in [0, 1]: 0 returns the input, 1 ignores it. `steps` is the length of the whole schedule, of which
    `strength` picks the part that is run, by `convention`. `guidance_scale` at most 1 means no guidance, one model
    evaluation a step. `guidance_rescale` in [0, 1]. `clip_skip` counts the text encoder's last layers passed over.
    `size` is (width, height) in pixels, None the input's own. `resize_mode` None is "none" without a size and "crop"
    with one. `posterior` says whether the VAE's latents are drawn ("sample", as diffusers does) or their mean ("mode").
    `noise` "cpu" carries the seeds of torch's CPU generator, "gpu" of torch-CUDA's, "field" keys noise by position.
    `schedule`, `posterior` and `noise` None are the convention's, see `conventions`.

    `prompt_syntax`, `weighting` and `broken_prompt` say how prompts are read: see `prompt.prompt.parse` and
    `prompt.emphasis`; weighting None goes with the syntax. `prompts` are (share of the steps, prompt) pairs instead of
    `prompt`, the first at 0. `passes` are strengths in (0, 1] of several passes in latents, instead of `strength`;
    `pass_prompts` the prompt of each; `drift_correction` takes the drift of colours out after every pass,
    `through_pixels` takes them through the VAE and 8-bit pixels between two. `variation_strength` in [0, 1] draws the
    first noise towards that of `variation_seed`. `seed_resize_from` (width, height) in pixels puts the first noise of a
    picture of that size in the middle, and `eta_noise_seed_delta` other than 0 draws the steps' noise from the
    beginning of the seed that lies so far on: A1111's "Seed resize from" and "ENSD". `colour_match` gives the result
    the input's colours, by a method of `imaging.match`. `inpaint_mask` and `regions` are of its size. `window`
    > 0 runs the model on overlapping windows of the latents, of at most that many pixels a side, which share at least
    `window_overlap` (a quarter). `origin` (left, top) says where in a larger picture this one lies, in pixels: "field"
    noise is that of the place.
    """

    image: Picture
    prompt: str = ""
    negative_prompt: str = ""
    strength: float = OWN
    steps: int = OWN
    guidance_scale: float = OWN
    guidance_rescale: float = 0.0
    sampler: str | None = None
    schedule: str | None = None
    convention: str = "contract"
    eta: float | None = None
    clip_skip: int = 0
    seed: int = 0
    noise: str | None = None
    posterior: str | None = None
    size: tuple[int, int] | None = None
    resize_mode: str | None = None
    prompt_syntax: str | None = None
    weighting: str | None = None
    broken_prompt: str | None = None
    passes: tuple[float, ...] = ()
    pass_prompts: tuple[str, ...] = ()
    drift_correction: bool = False
    through_pixels: bool = False
    prompts: tuple[tuple[float, str], ...] = ()
    variation_seed: int | None = None
    variation_strength: float = 0.0
    seed_resize_from: tuple[int, int] | None = None
    eta_noise_seed_delta: int = 0
    colour_match: str | None = None
    inpaint_mask: InpaintMask | None = None
    regions: tuple[Region, ...] = ()
    window: int = 0
    window_overlap: int | None = None
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used."""
        if not isinstance(self.image, Picture):
            raise InputError(f"image must be a Picture, not {type(self.image).__name__}; make one with overpaint.read")
        checks.text("prompt", self.prompt)
        checks.text("negative_prompt", self.negative_prompt)
        self._check_amounts()
        checks.number("guidance_rescale", self.guidance_rescale, 0, 1)
        checks.whole("clip_skip", self.clip_skip, 0, 64)
        if self.eta is not None:
            checks.number("eta", self.eta, 0, 1)
        checks.size(self.size)
        if not isinstance(self.origin, tuple) or len(self.origin) != 2:
            raise InputError(f"origin must be (left, top) in pixels, not {self.origin!r}")
        for name, length in zip(("left", "top"), self.origin, strict=True):
            checks.whole(f"origin's {name}", length, 0, MAX_SIDE)
        object.__setattr__(self, "seed", drawn(self.seed))
        if self.sampler is not None:
            resolve(self.sampler, self.schedule)
        find_schedule(self.schedule)
        checks.choice("strength convention", self.convention, CONVENTIONS)
        if self.noise is not None:
            checks.choice("noise", self.noise, NOISE_KINDS)
        if self.posterior is not None:
            checks.choice("posterior", self.posterior, POSTERIORS)
        if self.prompt_syntax is not None:
            checks.choice("prompt syntax", self.prompt_syntax, SYNTAXES)
        if self.weighting is not None:
            checks.choice("weighting", self.weighting, WEIGHTINGS)
        if self.broken_prompt is not None:
            checks.choice("way with broken prompts", self.broken_prompt, BROKEN)
        if self.resize_mode is not None:
            checks.choice("resize mode", self.resize_mode, RESIZE_MODES)
        if self.colour_match is not None:
            checks.choice("colour match", self.colour_match, COLOUR_MATCHES)
        self._check_passes()
        self._check_variation()
        self._check_places()
        if self.size is None and self.resize_mode not in (None, "none"):
            raise InputError(f"resize mode {self.resize_mode!r} needs a size to reach; give one")
        if self.size is not None and self.resize_mode == "none":
            raise InputError("a size needs a resize mode other than 'none'; choose 'crop', 'pad' or 'stretch'")

    def _check_amounts(self) -> None:
        said = {
            name: value
            for name in ("strength", "guidance_scale", "steps")
            if (value := getattr(self, name)) is not OWN and not isinstance(value, Times)
        }
        for name, most in (("strength", 1), ("guidance_scale", 100)):
            if name in said:
                checks.number(name, said[name], 0, most)
        if "steps" in said:
            checks.whole("steps", said["steps"], 1, 1000)

    def _check_passes(self) -> None:
        for strength in self.passes:
            checks.number("a pass's strength", strength, 0, 1)
            if not strength:
                raise InputError("a pass of strength 0 does nothing; leave it out")
        for name in ("through_pixels", "drift_correction"):
            if getattr(self, name) and not self.passes:
                raise InputError(f"{name} is of several passes; give their strengths as passes")
        if self.drift_correction and self.from_noise:
            raise InputError("a first pass of strength 1 has no original to drift from; leave out the correction")
        if self.pass_prompts and len(self.pass_prompts) != len(self.passes):
            raise InputError(
                f"{len(self.pass_prompts)} prompts for {len(self.passes)} passes; give one a pass, or only a prompt"
            )
        for prompt in self.pass_prompts:
            checks.text("a pass's prompt", prompt)
        if self.prompts and (self.prompt or self.pass_prompts):
            raise InputError(
                "a prompt is given twice, whole and by steps; give one of prompt, prompts and pass_prompts"
            )

    def _check_variation(self) -> None:
        checks.number("variation_strength", self.variation_strength, 0, 1)
        if self.variation_seed is not None:
            object.__setattr__(self, "variation_seed", drawn(self.variation_seed))
        elif self.variation_strength:
            raise InputError("a variation strength needs a variation seed; give one")
        checks.size(self.seed_resize_from, "seed_resize_from")
        checks.whole("eta_noise_seed_delta", self.eta_noise_seed_delta, -(2**63), 2**63)

    def _check_places(self) -> None:
        width, height = self.image.size
        places = {
            "inpaint_mask": self.inpaint_mask,
            **{f"region {n + 1}": region for n, region in enumerate(self.regions)},
        }
        for name, place in places.items():
            if place is not None and place.mask.shape != (height, width):
                found = "x".join(map(str, place.mask.shape[::-1]))
                raise InputError(f"the {name} is {found}, the picture is {width}x{height}; give one of its size")
        if self.inpaint_mask and self.inpaint_mask.differential and self.passes:
            raise InputError("strengths by pixel are of one pass; leave out the passes or the levels between")
        checks.whole("window", self.window, 0, MAX_SIDE)
        if self.window_overlap is not None:
            if not self.window:
                raise InputError("a window overlap needs windows; give window, their size")
            checks.whole("window_overlap", self.window_overlap, 0, MAX_SIDE)
            if self.window_overlap >= self.window:
                raise InputError(
                    f"windows of {self.window} pixels cannot overlap by {self.window_overlap}; enlarge them"
                )

    @property
    def syntax(self) -> str:
        """The prompt syntax that applies: that of the convention where none is asked for."""
        return self.prompt_syntax or self.habit.prompt_syntax

    @property
    def emphasis(self) -> str:
        """The weighting that applies."""
        return self.weighting or ("comfy" if self.syntax in ("comfy", "comfy-exact") else "a1111")

    @property
    def truncates(self) -> bool:
        """Whether levels are rounded down to 8 bits, as the convention's program does, instead of to nearest."""
        return self.habit.eight_bits == "cut"

    @property
    def habit(self) -> Convention:
        """What the convention says of everything that is left open."""
        return convention(self.convention)

    @property
    def noise_kind(self) -> str:
        """The noise that applies."""
        return self.noise or self.habit.noise

    @property
    def latents_from(self) -> str:
        """The posterior that applies."""
        return self.posterior or self.habit.posterior

    @property
    def from_noise(self) -> bool:
        """Whether it begins with noise alone."""
        first = self.passes[0] if self.passes else self.strength
        return from_noise(self.convention, first, self.inpaint_mask is not None)

    @property
    def fit_mode(self) -> str:
        """The resize mode that applies."""
        return self.resize_mode or ("none" if self.size is None else "crop")


@dataclass(frozen=True)
class Output:
    """One repainted picture: the image, the request it answers, and the table that was run.

    `parameters` is the text that tells other programs how it was made, `record` that by which `replay` makes it again
    (see `records.Record`), `notes` are on what was done to the input on its way. `drift` is the latents' of each pass
    where there are several (see `edits.Drift`), `certificate` says of an edit under a mask what was left alone.
    `paste_levels`, uint8 of the image's size, are how much of it counts, where A1111's soft inpainting decided that.
    """

    image: Image.Image
    request: Request
    plan: Plan
    parameters: str
    notes: tuple[str, ...]
    drift: tuple[float, ...] = ()
    recorder: Callable[[], str] | None = field(default=None, repr=False)
    certificate: Certificate | None = None
    paste_levels: Array | None = field(default=None, repr=False)

    @cached_property
    def record(self) -> str | None:
        """The record as it is written into files, see `records.recorder`."""
        return self.recorder() if self.recorder else None

    def save(self, path: str | Path, *, quality: int = 95, strip_metadata: bool = False) -> tuple[str, ...]:
        """Write the picture with its parameters and its record, in the format that the path's suffix names.

        A file that is there is replaced. Returns notes on what the format could not keep; raises `OutputError` where
        the file cannot be written and `InputError` for another suffix.
        """
        from ..imaging.output import write
        from ..provenance.records import located

        record = located(self.record, Path(path)) if self.record else None
        return write(path, self.image, self.parameters, record=record, quality=quality, strip=strip_metadata)

    def __repr__(self) -> str:
        width, height = self.image.size
        return f"Output({width}x{height}, seed {self.request.seed}, {self.plan.sampler}, {len(self.plan)} evaluations)"

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the record's text instead of what gives it, which holds on to the pipeline."""
        recorder = partial(str, self.record) if self.recorder else None
        return {**self.__dict__, "recorder": recorder}


@dataclass(frozen=True)
class Result:
    """What a run gives.

    `timings` are seconds by stage: text, encode, denoise, decode and total. `cached` counts, by stage, the encodings
    that were not computed again. `engines` say, by graph, what ran it.
    """

    outputs: tuple[Output, ...]
    timings: Mapping[str, float]
    cached: Mapping[str, int]
    engines: Mapping[str, str]

    @property
    def images(self) -> list[Image.Image]:
        """The repainted pictures."""
        return [output.image for output in self.outputs]

    @property
    def plan(self) -> Plan:
        """The table used; the first picture's, where the requests were of different kinds."""
        return self.outputs[0].plan

    @property
    def seeds(self) -> list[int]:
        """The seed of each picture."""
        return [output.request.seed for output in self.outputs]
