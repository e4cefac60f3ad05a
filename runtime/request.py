"""What is asked for, and what comes back; all cross-field checks are here."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np
from PIL import Image

from ..engines.base import Array, InputError, unknown
from .imaging.codec import MAX_SIDE, Picture
from .imaging.compose import Certificate
from .imaging.mask import LATENT_MODES
from .imaging.match import METHODS as COLOUR_MATCHES
from .imaging.resize import MODES as RESIZE_MODES
from .prompt.emphasis import WEIGHTINGS
from .prompt.prompt import BROKEN, SYNTAXES
from .sampling.names import find_schedule, resolve
from .sampling.noise import KINDS as NOISE_KINDS
from .sampling.noise import check_seed
from .sampling.plan import Plan
from .sampling.strength import CONVENTIONS, FROM_NOISE

POSTERIORS = ("sample", "mode")
CONTENTS = ("original", "noise", "nothing")
# What diffusers and A1111 call things: the same thing under another name, and things that are given in another way.
ALIASES: Mapping[str, str] = {
    "cfg_scale": "guidance_scale",
    "denoising_strength": "strength",
    "num_inference_steps": "steps",
    "sampler_name": "sampler",
}
ELSEWHERE: Mapping[str, str] = {
    "batch_size": "n",
    "callback_on_step_end": "on_step",
    "generator": "seed",
    "height": "size",
    "num_images_per_prompt": "n",
    "scheduler": "sampler",
    "width": "size",
}


@dataclass(frozen=True, eq=False)
class Change:
    """Which of a picture's pixels may change: `levels` uint8 [height, width], 255 where they may, 0 where not.

    With `gradual` the levels between are strengths of their own: 128 is half the request's. With `softness` above 0
    they are how much of the new latents counts, less where there is much noise and more towards the end (see
    `edits.Keep`). With neither, 128 and more is all. `content` is what the latents begin with there: the original's,
    noise alone, or nothing (zeros). `latent_mask` is how the levels come to the latents' size, see
    `imaging.mask.to_latents`; levels between always as means.
    """

    levels: Array
    gradual: bool = False
    softness: float = 0.0
    content: str = "original"
    latent_mask: str = "diffusers"

    def __post_init__(self) -> None:
        """Raise `InputError` for levels of another kind, an unknown content, and levels that are to mean two things."""
        _levels("a change's levels", self.levels)
        _number("softness", self.softness, 0, 8)
        if self.gradual and self.softness:
            raise InputError("levels between are strengths or a soft edge, not both; leave out gradual or the softness")
        _choice("masked content", self.content, CONTENTS)
        _choice("latent mask", self.latent_mask, LATENT_MODES)


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a picture with a prompt of its own: `levels` uint8 [height, width] say how much of it counts where."""

    prompt: str
    levels: Array

    def __post_init__(self) -> None:
        """Raise `InputError` for levels of another kind and a prompt that is no text."""
        _text("a region's prompt", self.prompt)
        _levels("a region's levels", self.levels)


@dataclass(frozen=True)
class Request:
    """One picture to repaint.

    `strength` in [0, 1]: 0 returns the input, 1 ignores it. `steps` is the length of the whole schedule, of which
    `strength` picks the part that is run, by `convention`. `guidance_scale` at most 1 means no guidance, one model
    evaluation a step. `guidance_rescale` in [0, 1]. `clip_skip` counts the text encoder's last layers passed over.
    `size` is (width, height) in pixels, None the input's own. `resize_mode` None is "none" without a size and "crop"
    with one. `posterior` says whether the VAE's latents are drawn ("sample", as diffusers and A1111 do) or their mean.
    `noise` "cpu" carries the seeds of torch's CPU generator, "gpu" of torch-CUDA's, "field" keys noise by position.

    `prompt_syntax`, `weighting` and `broken_prompt` say how prompts are read: see `prompt.prompt.parse` and
    `prompt.emphasis`; weighting None goes with the syntax. `prompts` are (share of the steps, prompt) pairs instead of
    `prompt`, the first at 0. `passes` are strengths in (0, 1] of several passes in latents, instead of `strength`;
    `pass_prompts` the prompt of each; `drift_correction` gives the latents the original's means after every pass,
    `through_pixels` takes them through the VAE and 8-bit pixels between two. `variation_strength` in [0, 1] draws the
    first noise towards that of `variation_seed`. `colour_match` gives the result the input's colours, by a method of
    `imaging.match`. `change` and `regions` are of the picture's size. `window` > 0 runs the model on overlapping
    windows of the latents, of at most that many pixels a side, which share at least `window_overlap` (a quarter).
    `origin` (left, top) says where in a larger picture this one lies, in pixels: "field" noise is that of the place.
    """

    image: Picture
    prompt: str = ""
    negative_prompt: str = ""
    strength: float = 0.6
    steps: int = 20
    guidance_scale: float = 7.5
    guidance_rescale: float = 0.0
    sampler: str | None = None
    schedule: str | None = None
    convention: str = "contract"
    eta: float | None = None
    clip_skip: int = 0
    seed: int = 0
    noise: str = "cpu"
    posterior: str = "sample"
    size: tuple[int, int] | None = None
    resize_mode: str | None = None
    prompt_syntax: str = "a1111"
    weighting: str | None = None
    broken_prompt: str = "error"
    passes: tuple[float, ...] = ()
    pass_prompts: tuple[str, ...] = ()
    drift_correction: bool = False
    through_pixels: bool = False
    prompts: tuple[tuple[float, str], ...] = ()
    variation_seed: int | None = None
    variation_strength: float = 0.0
    colour_match: str | None = None
    change: Change | None = None
    regions: tuple[Region, ...] = ()
    window: int = 0
    window_overlap: int | None = None
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used."""
        if not isinstance(self.image, Picture):
            raise InputError(f"image must be a Picture, not {type(self.image).__name__}; make one with overpaint.read")
        _text("prompt", self.prompt)
        _text("negative_prompt", self.negative_prompt)
        _number("strength", self.strength, 0, 1)
        _number("guidance_scale", self.guidance_scale, 0, 100)
        _number("guidance_rescale", self.guidance_rescale, 0, 1)
        _whole("steps", self.steps, 1, 1000)
        _whole("clip_skip", self.clip_skip, 0, 64)
        if self.eta is not None:
            _number("eta", self.eta, 0, 1)
        checked_size(self.size)
        if not isinstance(self.origin, tuple) or len(self.origin) != 2:
            raise InputError(f"origin must be (left, top) in pixels, not {self.origin!r}")
        for name, length in zip(("left", "top"), self.origin, strict=True):
            _whole(f"origin's {name}", length, 0, MAX_SIDE)
        check_seed(self.seed)
        if self.sampler is not None:
            resolve(self.sampler, self.schedule)
        find_schedule(self.schedule)
        _choice("strength convention", self.convention, CONVENTIONS)
        _choice("noise", self.noise, NOISE_KINDS)
        _choice("posterior", self.posterior, POSTERIORS)
        _choice("prompt syntax", self.prompt_syntax, SYNTAXES)
        if self.weighting is not None:
            _choice("weighting", self.weighting, WEIGHTINGS)
        _choice("way with broken prompts", self.broken_prompt, BROKEN)
        if self.resize_mode is not None:
            _choice("resize mode", self.resize_mode, RESIZE_MODES)
        if self.colour_match is not None:
            _choice("colour match", self.colour_match, COLOUR_MATCHES)
        self._check_passes()
        self._check_variation()
        self._check_places()
        if self.size is None and self.resize_mode not in (None, "none"):
            raise InputError(f"resize mode {self.resize_mode!r} needs a size to reach; give one")
        if self.size is not None and self.resize_mode == "none":
            raise InputError("a size needs a resize mode other than 'none'; choose 'crop', 'pad' or 'stretch'")

    def _check_passes(self) -> None:
        for strength in self.passes:
            _number("a pass's strength", strength, 0, 1)
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
            _text("a pass's prompt", prompt)
        if self.prompts and (self.prompt or self.pass_prompts):
            raise InputError(
                "a prompt is given twice, whole and by steps; give one of prompt, prompts and pass_prompts"
            )

    def _check_variation(self) -> None:
        _number("variation_strength", self.variation_strength, 0, 1)
        if self.variation_seed is not None:
            check_seed(self.variation_seed)
        elif self.variation_strength:
            raise InputError("a variation strength needs a variation seed; give one")

    def _check_places(self) -> None:
        width, height = self.image.size
        places = {"change": self.change, **{f"region {n + 1}": region for n, region in enumerate(self.regions)}}
        for name, place in places.items():
            if place is not None and place.levels.shape != (height, width):
                found = "x".join(map(str, place.levels.shape[::-1]))
                raise InputError(f"the {name} is {found}, the picture is {width}x{height}; give one of its size")
        if self.change and self.change.gradual and self.passes:
            raise InputError("strengths by pixel are of one pass; leave out the passes or the levels between")
        _whole("window", self.window, 0, MAX_SIDE)
        if self.window_overlap is not None:
            if not self.window:
                raise InputError("a window overlap needs windows; give window, their size")
            _whole("window_overlap", self.window_overlap, 0, MAX_SIDE)
            if self.window_overlap >= self.window:
                raise InputError(
                    f"windows of {self.window} pixels cannot overlap by {self.window_overlap}; enlarge them"
                )

    @property
    def emphasis(self) -> str:
        """The weighting that applies."""
        return self.weighting or ("comfy" if self.prompt_syntax == "comfy" else "a1111")

    @property
    def from_noise(self) -> bool:
        """Whether it begins with noise alone."""
        first = self.passes[0] if self.passes else self.strength
        return first == 1 and self.convention in FROM_NOISE

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
    """

    image: Image.Image
    request: Request
    plan: Plan
    parameters: str
    notes: tuple[str, ...]
    drift: tuple[float, ...] = ()
    record: str | None = None
    certificate: Certificate | None = None


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


def expand(
    images: Sequence[Picture],
    prompts: Sequence[str],
    negatives: Sequence[str],
    seeds: Sequence[int] | int | None,
    n: int,
    options: Mapping[str, Any],
) -> list[Request]:
    """The requests of a batch: pictures and prompts in step, each `n` times, a seed for every image.

    Sequences of one are repeated to the longest. A single seed counts up over the images, as A1111 does; None draws it.
    With a variation strength the seed stays and the variation seed counts, or is drawn.
    Raises `InputError` for lengths that do not fit and for options that a request has not.
    """
    _whole("n", n, 1, 10_000)
    columns = {"image": images, "prompt": prompts, "negative prompt": negatives}
    count = max(map(len, columns.values()))
    for name, column in columns.items():
        if not column:
            raise InputError(f"no {name} is given; give one, or {count}")
        if len(column) not in (1, count):
            raise InputError(f"{len(column)} {name}s in a batch of {count}; give one, or {count}")
    rows = zip(*(list(column) * (count // len(column)) for column in columns.values()), strict=True)
    given, total = _options(options), count * n
    varied = bool(given.get("variation_strength"))
    drawn = _seeds(seeds, total, counting=not varied)
    variation = given.pop("variation_seed", None)
    variations = _seeds(variation, total) if varied else [variation] * total
    copies = (row for row in rows for _ in range(n))
    return [
        Request(image, prompt, negative, seed=seed, variation_seed=other, **given)
        for (image, prompt, negative), seed, other in zip(copies, drawn, variations, strict=True)
    ]


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request by their own names, from names that other programs have for them."""
    apart = {"image", "prompt", "negative_prompt", "seed"}
    known = {field.name for field in fields(Request)}
    named: dict[str, Any] = {}
    for name, value in options.items():
        own = ALIASES.get(name, name)
        if name in ELSEWHERE:
            raise InputError(f"unknown option {name!r}; it is called {ELSEWHERE[name]!r} here")
        if own not in known - apart:
            raise unknown("option", name, known | ALIASES.keys() | {"n", "on_step"})
        if own in named:
            raise InputError(f"{own} is given twice, also as {name!r}; give it once")
        if value is not None:
            named[own] = value
    return named


def _seeds(seeds: Sequence[int] | int | None, count: int, counting: bool = True) -> Sequence[int]:
    if seeds is None:
        seeds = secrets.randbelow(2**32)
    if isinstance(seeds, Sequence):
        if len(seeds) != count:
            raise InputError(f"{len(seeds)} seeds for {count} images; give one seed, or one for every image")
        return seeds
    first = check_seed(seeds)
    return range(first, first + count) if counting else [first] * count


def _number(name: str, value: Any, least: float, most: float) -> None:
    # Written so that NaN fails too.
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) <= most:
        raise InputError(f"{name} must be a number from {least} to {most}, not {value!r}")


def _whole(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, not {value!r}")


def _choice(kind: str, value: Any, known: Iterable[str]) -> None:
    if value not in known:
        raise unknown(kind, str(value), known)


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"{name} has characters that are no Unicode ({exc.reason}); give it as UTF-8") from exc


def _levels(name: str, value: Any) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 2:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputError(f"{name} must be uint8 [height, width], not {found}")


def checked_size(value: Any) -> tuple[int, int] | None:
    """A (width, height) in pixels or None; raises `InputError` for anything else."""
    if value is None:
        return None
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"size must be (width, height) in pixels, not {value!r}")
    for name, length in zip(("width", "height"), value, strict=True):
        _whole(name, length, 1, MAX_SIDE)
    return value
