"""The sections that a request's fields fall into. Each owns the checks of its fields against one another."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import InputError
from ...loras.weights import parse_use
from ..conventions.convention import Convention, convention
from ..imaging.limits import MAX_SIDE
from ..imaging.picture import Picture
from ..sampling.caching import Caching, parse_caching
from ..sampling.names import resolve
from . import checks
from .controls import Control
from .image_prompts import ImagePrompt, check_blend
from .options import default, fields_of
from .places import DepthMap, InpaintMask, Region


@dataclass(frozen=True)
class Section:
    """Fields with rows in the options table."""

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used, and for fields that do not go together."""
        checks.check(self, fields_of("request"))
        self.check()

    def check(self) -> None:
        """Raise `InputError` for fields that do not go together."""


def idle(name: str, whose: str, needed: str, flag: str) -> InputError:
    """An error for an option without effect, of what is not there; it says what would be needed."""
    return InputError(
        f"{name} is of {whose}, and there is none; give {needed} (on the command line {flag}), or leave it out", name
    )


@dataclass(frozen=True)
class Subject(Section):
    """What is repainted."""

    image: Picture

    def check(self) -> None:
        """Raise `InputError` for what is no picture."""
        if not isinstance(self.image, Picture):
            raise InputError(
                f"image must be a Picture, not {type(self.image).__name__}; make one with overpaint.read", "image"
            )
        super().check()


@dataclass(frozen=True)
class Prompting(Section):
    """What the model is asked for.

    `guidance_scale` at most 1 means no guidance, one model evaluation a step; so it is outside of `guidance_interval`,
    the shares of each pass's steps from which and until which it counts. With a `mimic_scale` guided predictions are
    scaled to the range that they have with that scale, once all but a `threshold_percentile` of their values are
    clipped. `perturbed_attention` is the scale of a guidance of its own, 0 for none. `clip_skip` counts the text
    encoder's last layers passed over. `prompt_syntax`, `weighting` and `broken_prompt` say how prompts are read: see
    `prompt.prompt.parse` and `prompt.emphasis`; weighting None goes with the syntax. `image_guidance_scale` is of
    models that edit by instruction (InstructPix2Pix), None 1.5. `empty_negative` "zeros" stands for an empty negative
    prompt in place of its "text". `prompts` are (share of the steps, prompt) pairs instead of `prompt`, the first at 0;
    `pass_prompts` the prompt of each pass. `loras` are as `conditioning.lora.weights.parse_use` reads them;
    `lora_weight` is a factor of what all count.
    """

    prompt: str = default("prompt")
    negative_prompt: str = default("negative_prompt")
    guidance_scale: float = default("guidance_scale")
    guidance_rescale: float = default("guidance_rescale")
    mimic_scale: float | None = default("mimic_scale")
    threshold_percentile: float = default("threshold_percentile")
    perturbed_attention: float = default("perturbed_attention")
    guidance_interval: tuple[float, ...] = default("guidance_interval")
    image_guidance_scale: float | None = default("image_guidance_scale")
    empty_negative: str | None = default("empty_negative")
    clip_skip: int = default("clip_skip")
    prompt_syntax: str | None = default("prompt_syntax")
    weighting: str | None = default("weighting")
    broken_prompt: str | None = default("broken_prompt")
    prompts: tuple[tuple[float, str], ...] = default("prompts")
    pass_prompts: tuple[str, ...] = default("pass_prompts")
    loras: tuple[str, ...] = default("loras")
    lora_weight: float = default("lora_weight")

    def check(self) -> None:
        """Raise `InputError` for a prompt that is given in two ways, and for an interval that is none."""
        super().check()
        if self.threshold_percentile != 1 and self.mimic_scale is None:
            raise idle("threshold_percentile", "dynamic thresholding", "mimic_scale", "--mimic-scale G")
        if self.guidance_interval and not _rises(self.guidance_interval):
            raise InputError(
                "a guidance interval is where it begins, and where it ends unless that is the end, such as (0.2, 0.8); "
                f"not {self.guidance_interval!r}",
                "guidance_interval",
            )
        with checks.of("prompts"):
            checks.several("prompts", self.prompts)
        with checks.of("loras"):
            for each in self.loras:
                parse_use(each)
        if self.prompts and (self.prompt or self.pass_prompts):
            raise InputError(
                "a prompt is given twice, whole and by steps; give one of prompt, prompts and pass_prompts", "prompts"
            )


@dataclass(frozen=True)
class Adapters(Section):
    """What steers the model beside the prompt.

    `controls` are ControlNets; `control_weight` is a factor of what all count. `image_prompts` are pictures;
    `image_weight` in [0, 3] is what all of them count beside the text. `image_blend` "tokens" has the model attend to
    each of them, "average" to one picture of what they show on average.
    """

    controls: tuple[Control, ...] = default("controls")
    control_weight: float = default("control_weight")
    image_prompts: tuple[ImagePrompt, ...] = default("image_prompts")
    image_weight: float = default("image_weight")
    image_blend: str = default("image_blend")

    def check(self) -> None:
        """Raise `InputError` for what is no control and no image prompt, and for image prompts that cannot be of one
        request."""
        super().check()
        with checks.of("controls"):
            for control in checks.several("controls", self.controls):
                if not isinstance(control, Control):
                    raise InputError(f"controls are of Control, not {control!r}; make one with overpaint.Control")
        with checks.of("image_prompts"):
            for prompt in checks.several("image_prompts", self.image_prompts):
                if not isinstance(prompt, ImagePrompt):
                    raise InputError(
                        f"image_prompts are of ImagePrompt, not {prompt!r}; make one with overpaint.ImagePrompt"
                    )
            check_blend(self.image_prompts, self.image_blend)
        if self.control_weight != 1 and not self.controls:
            raise idle("control_weight", "ControlNets", "controls", "--control NET")
        if self.image_weight != 1 and not self.image_prompts:
            raise idle("image_weight", "image prompts", "image_prompts", "--image-prompt FILE")

    @property
    def weighted_controls(self) -> tuple[Control, ...]:
        """The ControlNets with what they count in all; raises `InputError` for one that counts more than any may."""
        if self.control_weight == 1:
            return self.controls
        return tuple(replace(each, weight=each.weight * self.control_weight) for each in self.controls)


@dataclass(frozen=True)
class Sampling(Section):
    """How far the picture is noised, and by which steps it comes back.

    `strength` in [0, 1]: 0 returns the input, 1 ignores it. `steps` is the length of the whole schedule, of which
    `strength` picks the part that is run, by `convention`. `schedule` None is the convention's. `passes` are strengths
    in (0, 1] of several passes in latents, instead of `strength`; `drift_correction` takes the drift of colours out
    after every pass, `through_pixels` takes them through the VAE and 8-bit pixels between two. `cache` is
    what `caching.parse_caching` reads.
    """

    strength: float = default("strength")
    steps: int = default("steps")
    sampler: str | None = default("sampler")
    schedule: str | None = default("schedule")
    convention: str = default("convention")
    eta: float | None = default("eta")
    passes: tuple[float, ...] = default("passes")
    drift_correction: bool = default("drift_correction")
    through_pixels: bool = default("through_pixels")
    cache: str | None = default("cache")

    def check(self) -> None:
        """Raise `InputError` for a sampler with another schedule in its name, and for passes that cannot be."""
        super().check()
        if self.sampler is not None:
            with checks.of("schedule"):
                resolve(self.sampler, self.schedule)
        if not all(self.passes):
            raise InputError("a pass of strength 0 does nothing; leave it out", "passes")
        if self.cache is not None:
            parse_caching(self.cache)
        for name in ("through_pixels", "drift_correction"):
            if getattr(self, name) and not self.passes:
                raise InputError(f"{name} is of several passes; give their strengths as passes", name)

    @property
    def caching(self) -> Caching | None:
        """How evaluations are cached, if they are."""
        return None if self.cache is None else parse_caching(self.cache)

    @property
    def habit(self) -> Convention:
        """What the convention says of everything that is left open."""
        return convention(self.convention)


@dataclass(frozen=True)
class Noise(Section):
    """Where noise and latents come from.

    `noise` "cpu" carries the seeds of torch's CPU generator, "gpu" of torch-CUDA's, "field" keys noise by position:
    `origin` (left, top) says where in a larger picture this one lies, in pixels. `posterior` says whether the VAE's
    latents are drawn ("sample", as diffusers does) or their mean ("mode"). `noise` and `posterior` None are the
    convention's. `variation_strength` in [0, 1] draws the first noise towards that of `variation_seed`.
    `seed_resize_from` (width, height) in pixels puts the first noise of a picture of that size in the middle, and
    `eta_noise_seed_delta` other than 0 draws the steps' noise from the beginning of the seed that lies so far on:
    A1111's "Seed resize from" and "ENSD".
    """

    seed: int = default("seed")
    noise: str | None = default("noise")
    posterior: str | None = default("posterior")
    variation_seed: int | None = default("variation_seed")
    variation_strength: float = default("variation_strength")
    seed_resize_from: tuple[int, int] | None = default("seed_resize_from")
    eta_noise_seed_delta: int = default("eta_noise_seed_delta")
    origin: tuple[int, int] = default("origin")

    def check(self) -> None:
        """Raise `InputError` for a variation of nothing, and for an origin that is no place."""
        super().check()
        if self.variation_strength and self.variation_seed is None:
            raise InputError("a variation strength needs a variation seed; give one", "variation_seed")
        with checks.of("origin"):
            if not isinstance(self.origin, tuple) or len(self.origin) != 2:
                raise InputError(f"origin must be (left, top) in pixels, not {self.origin!r}")
            for name, length in zip(("left", "top"), self.origin, strict=True):
                checks.whole(f"origin's {name}", length, 0, MAX_SIDE)


@dataclass(frozen=True)
class Canvas(Section):
    """Which size the result has, and what of it may change.

    `size` is (width, height) in pixels, None the input's own; `resize_mode` None is "none" without a size and "crop"
    with one. `inpaint_mask` and `regions` are of the picture's size. `window` > 0 runs the model on overlapping windows
    of the latents, of at most that many pixels a side, which share at least `window_overlap` (a quarter).
    `colour_match` gives the result the input's colours, by a method of `imaging.match`. `depth` is the
    picture's depth map, for models that take one.
    """

    size: tuple[int, int] | None = default("size")
    resize_mode: str | None = default("resize_mode")
    window: int = default("window")
    window_overlap: int | None = default("window_overlap")
    colour_match: str | None = default("colour_match")
    depth: DepthMap | None = None
    inpaint_mask: InpaintMask | None = None
    regions: tuple[Region, ...] = default("regions")

    def check(self) -> None:
        """Raise `InputError` for a size without a way to reach it, and for an overlap of no windows."""
        super().check()
        if not isinstance(self.depth, DepthMap | None):
            raise InputError(f"depth is a DepthMap, not {self.depth!r}", "depth")
        if not isinstance(self.inpaint_mask, InpaintMask | None):
            raise InputError(f"an inpaint_mask is an InpaintMask, not {self.inpaint_mask!r}", "inpaint_mask")
        with checks.of("regions"):
            for region in checks.several("regions", self.regions):
                if not isinstance(region, Region):
                    raise InputError(f"regions are of Region, not {region!r}")
        if self.size is None and self.resize_mode not in (None, "none"):
            raise InputError(f"resize mode {self.resize_mode!r} needs a size to reach; give one", "resize_mode")
        if self.size is not None and self.resize_mode == "none":
            raise InputError(
                "a size needs a resize mode other than 'none'; choose 'crop', 'pad' or 'stretch'", "resize_mode"
            )
        if self.window_overlap is None:
            return
        if not self.window:
            raise InputError("a window overlap needs windows; give window, their size", "window_overlap")
        if self.window_overlap >= self.window:
            raise InputError(
                f"windows of {self.window} pixels cannot overlap by {self.window_overlap}; enlarge them",
                "window_overlap",
            )

    @property
    def fit_mode(self) -> str:
        """The resize mode that applies."""
        return self.resize_mode or ("none" if self.size is None else "crop")


@dataclass(frozen=True)
class Micro(Section):
    """What models of SDXL's family are given of the picture as numbers: Podell et al. (arXiv:2307.01952), section 2.2.

    `original_size` and `target_size` are (width, height) in pixels, None the size that the model works at; `crop_left`
    and `crop_top` are pixels cut off. The scores are those of its refiner, None 6 and 2.5, of the prompt and of the
    negative one.
    """

    original_size: tuple[int, int] | None = default("original_size")
    target_size: tuple[int, int] | None = default("target_size")
    crop_left: int = default("crop_left")
    crop_top: int = default("crop_top")
    aesthetic_score: float | None = default("aesthetic_score")
    negative_aesthetic_score: float | None = default("negative_aesthetic_score")

    def size_numbers(self, size: tuple[int, int], negative: bool = False) -> dict[str, float]:
        """The numbers for a picture that the model works on at (width, height), by the names of `facts.SIZE_IDS`; with
        the score of the `negative` prompt, which has the same sizes."""
        original, target = self.original_size or size, self.target_size or size
        score, usual = (self.negative_aesthetic_score, 2.5) if negative else (self.aesthetic_score, 6.0)
        return {
            "original_height": original[1],
            "original_width": original[0],
            "crop_top": self.crop_top,
            "crop_left": self.crop_left,
            "target_height": target[1],
            "target_width": target[0],
            "aesthetic_score": usual if score is None else score,
        }


def _rises(interval: tuple[float, ...]) -> bool:
    return len(interval) == 1 or (len(interval) == 2 and interval[0] < interval[1])
