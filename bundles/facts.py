"""What the runtime has to know about a model: its latents, its tokenizer, its schedule, its defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..errors import InputError, counted, unknown
from .graph import File


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer's file (Hugging Face `tokenizers` JSON) and the ids the runtime frames a chunk with."""

    file: File
    length: int
    bos: int
    eos: int
    pad: int


@dataclass(frozen=True)
class EncoderFacts:
    """A text encoder: the name of its graph, its tokenizer, and which of the graph's outputs are its hidden states
    [rows, tokens, width] and its pooled text [rows, width]; None where it gives none."""

    graph: str
    tokenizer: Tokenizer
    hidden: str | None
    pooled: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that it gives."""
        return tuple(name for name in (self.hidden, self.pooled) if name is not None)

    def __str__(self) -> str:
        return f"gives {', '.join(self.outputs)}; tokenizer {self.tokenizer.file.path}, {self.tokenizer.length} tokens"


@dataclass(frozen=True)
class Defaults:
    """What a request has where its user says nothing: the length of the whole schedule, the scale of classifier-free
    guidance (at most 1 is none), and the denoising strength in [0, 1]."""

    steps: int = 20
    guidance_scale: float = 7.5
    strength: float = 0.6

    def __post_init__(self) -> None:
        """Raise `ValueError` for what no request can have."""
        if type(self.steps) is not int or not 1 <= self.steps <= 1000:
            raise ValueError(f"default steps are {self.steps!r}")
        if not 0 <= self.guidance_scale <= 100 or not 0 <= self.strength <= 1:
            raise ValueError(f"default guidance is {self.guidance_scale!r}, default strength {self.strength!r}")

    def __str__(self) -> str:
        return f"{counted(self.steps, 'step')}, guidance {self.guidance_scale:g}, strength {self.strength:g}"


USUAL: Mapping[str, Defaults] = {
    "img2img": Defaults(),
    "inpaint": Defaults(),
    "outpaint": Defaults(strength=1.0),
    "upscale": Defaults(strength=0.3),
}
"""By use, for models that name no others: what suits Stable Diffusion."""


def parse_defaults(words: Iterable[str], usual: Mapping[str, Defaults] = USUAL) -> dict[str, Defaults]:
    """`usual` with other values: "guidance_scale=3" of all uses, "upscale.strength=0.2" of one.

    Raises `InputError` for an unknown use or name, and a value that no request can have.
    """
    defaults = dict(usual)
    kinds = {"steps": int, "guidance_scale": float, "strength": float}
    for word in words:
        path, _, text = word.partition("=")
        use, _, name = path.rpartition(".")
        if name not in kinds:
            raise unknown("default", name, kinds)
        if use and use not in defaults:
            raise unknown("use", use, defaults)
        try:
            uses = [use] if use else defaults
            changes = {each: replace(defaults[each], **{name: kinds[name](text)}) for each in uses}
        except ValueError as exc:
            raise InputError(f"the default {word!r} cannot be ({exc}); write one as guidance_scale=3") from exc
        defaults |= changes
    return defaults


DEPTH = 1
"""The channels of a depth map."""

SIZE_IDS = (
    "original_height",
    "original_width",
    "crop_top",
    "crop_left",
    "target_height",
    "target_width",
    "aesthetic_score",
)
"""What a denoiser may be told of the picture as numbers: Podell et al. (arXiv:2307.01952), section 2.2; the score is
that of SDXL's refiner."""


@dataclass(frozen=True)
class ModelFacts:
    """What the runtime has to know about the model; it never guesses from a name.

    `downscale` is pixels per latent along an edge; `multiple` is what the pixel height and width must be multiples of.
    `conditioning_channels` are those that the U-Net's `sample` has after the latents: none, a mask and the masked
    picture's latents (inpainting, 1 + `latent_channels`), a picture's latents (InstructPix2Pix, `latent_channels`), or
    a depth map (1).
    Latents of the denoiser are `(vae latents - shift_factor) * scaling_factor`. `scheduler` holds the fields of
    `overpaint.runtime.sampling.levels.ModelSchedule`, or with `kind` "flow" those of
    `overpaint.runtime.sampling.flow.FlowSchedule`. `default_size` is in pixels, (width, height). `default_schedule` is
    that of `default_sampler`, None what follows from `scheduler`. `defaults` are by use, see `USUAL`. `encoders` are
    the text encoders, in the order in which the model was trained with them. `size_ids` are what the numbers of the
    denoiser's `time_ids` mean, in their order, of `SIZE_IDS`. With `zero_empty_negative` an empty negative prompt is
    zeros in place of what the encoders make of it.
    """

    name: str
    family: str
    latent_channels: int
    downscale: int
    multiple: int
    scaling_factor: float
    shift_factor: float
    default_size: tuple[int, int]
    default_sampler: str
    scheduler: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)
    conditioning_channels: int = 0
    default_schedule: str | None = None
    defaults: Mapping[str, Defaults] = field(default_factory=lambda: USUAL)
    encoders: tuple[EncoderFacts, ...] = ()
    size_ids: tuple[str, ...] = ()
    zero_empty_negative: bool = False

    @property
    def sample_channels(self) -> int:
        """The channels of the U-Net's `sample`."""
        return self.latent_channels + self.conditioning_channels

    @property
    def inpaints(self) -> bool:
        """Whether `sample` is the latents [latent_channels], a mask [1] and the masked picture's latents."""
        return self.conditioning_channels == self.latent_channels + 1

    @property
    def edits(self) -> bool:
        """Whether `sample` is the latents and those of the picture to edit by instruction."""
        return self.conditioning_channels == self.latent_channels

    @property
    def takes_depth(self) -> bool:
        """Whether `sample` is the latents and a depth map [1]."""
        return self.conditioning_channels == DEPTH


TEXT_FAMILIES = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    1280: "SDXL's refiner",
    2048: "Stable Diffusion XL",
}
"""The families of models by the width of their text, which tells them apart."""


class Extent(Protocol):
    """What engines know of the pictures that a bundle is for; the fields are those of `ModelFacts`."""

    @property
    def downscale(self) -> int: ...  # noqa: D102
    @property
    def multiple(self) -> int: ...  # noqa: D102
    @property
    def default_size(self) -> tuple[int, int]: ...  # noqa: D102


def conditionings(latent_channels: int) -> dict[int, str]:
    """What a U-Net may be shown beside latents of so many channels, by the channels that this takes."""
    return {
        0: "nothing",
        DEPTH: "a depth map",
        latent_channels: "a picture's latents (InstructPix2Pix)",
        latent_channels + 1: "a mask and the masked picture's latents (inpainting)",
    }
