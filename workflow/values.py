"""What nodes hand to one another. Pictures float32 [n, height, width, channels] and masks float32 [n, height, width],
both in [0, 1], and sigmas float64 [n] are arrays; the rest is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..bundles.tensor import Array
from ..loras.weights import LoraUse
from ..runtime.imaging.picture import Picture
from ..runtime.model.controlnet import ControlNet
from ..runtime.model.image_prompt import ImagePromptAdapter
from ..runtime.model.model import Model
from ..runtime.requests.sections import Micro

PIXELS = 8
"""Pixels per latent where no model is known: what ComfyUI's nodes divide by."""


@dataclass(frozen=True, eq=False)
class Latents:
    """A batch of latents as the denoiser has them, float32 [n, channels, height, width].

    `mask` float32 [m, height, width], of any size, says where they are painted anew. `batch_index` are the places in
    the draw of noise that its items have. `unit` is pixels per latent. Of `blank` ones only the size counts.
    """

    samples: Array
    mask: Array | None = None
    batch_index: tuple[int, ...] | None = None
    unit: int = PIXELS
    blank: bool = False


@dataclass(frozen=True, eq=False)
class ImageUse:
    """Pictures that steer a model through an image-prompt adapter, when and how much: part of a MODEL."""

    adapter: ImagePromptAdapter
    pictures: tuple[Picture, ...]
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    negative: Picture | None = None
    blocks: str = "all"
    """The layers that attend to them, as an `ImagePrompt` has them."""
    average: bool = False
    """Whether they are one picture's tokens, of the mean of their features."""


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Pictures for an adapter's image encoder, which is run where they are used: CLIP_VISION_OUTPUT."""

    adapter: ImagePromptAdapter
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A denoiser, and how it is to be used: MODEL.

    `rescale` draws the guided prediction's spread towards the conditional one's. With `differential` a mask is a
    threshold in time, of that strength. `perturbed` is the scale of a guidance away from what the model makes without
    attention in its middle.
    """

    model: Model
    rescale: float = 0.0
    differential: float | None = None
    perturbed: float = 0.0
    loras: tuple[LoraUse, ...] = ()
    images: tuple[ImageUse, ...] = ()


@dataclass(frozen=True, eq=False)
class Texts:
    """A model's text encoders, without their last `clip_skip` layers: CLIP."""

    model: Model
    clip_skip: int = 0
    loras: tuple[LoraUse, ...] = ()


@dataclass(frozen=True, eq=False)
class Vae:
    """A model's autoencoder: VAE."""

    model: Model


@dataclass(frozen=True, eq=False)
class Net:
    """A ControlNet, and what a union of several is to take its hints for: CONTROL_NET."""

    net: ControlNet
    kind: str = ""


@dataclass(frozen=True, eq=False)
class Hint:
    """A ControlNet's part in a conditioning: the net, the pictures, and when and how much it counts."""

    net: Net
    image: Array
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    shared: bool = False
    """Whether the negative side has it too, where it has none of its own."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One conditioning of a CONDITIONING, which is a tuple of them.

    `inputs` are the denoiser's. `area` is (height, width, top, left) in pixels, or as shares of the picture where they
    are `relative`. `mask` float32 [n, height, width] has a `mask_strength`; with `mask_bounds` its box is the area.
    `start` and `end` are shares of the sampling, as ComfyUI counts them. `concat` float32 [n, channels, height, width]
    goes into an inpainting model below the latents.
    """

    inputs: Mapping[str, Array]
    area: tuple[float, float, float, float] | None = None
    relative: bool = False
    strength: float = 1.0
    mask: Array | None = None
    mask_strength: float = 1.0
    mask_bounds: bool = False
    start: float = 0.0
    end: float = 1.0
    hints: tuple[Hint, ...] = ()
    concat: Array | None = None
    sizes: Micro | None = None
    """The picture's sizes that a model of SDXL's family is given; None for those of the latents."""


Conditioned = tuple[Entry, ...]


@dataclass(frozen=True)
class SamplerChoice:
    """A sampler by ComfyUI's name: SAMPLER."""

    name: str
    eta: float | None = None


@dataclass(frozen=True)
class Noise:
    """Whose noise is added: a seed's, or none: NOISE."""

    seed: int = 0
    adds: bool = True


@dataclass(frozen=True, eq=False)
class Side:
    """Conditionings that count together, with their weight; `negative` ones are what guidance leads away from, and of
    `perturbed` ones what the model makes without attention in its middle."""

    entries: Conditioned
    weight: float
    negative: bool = False
    perturbed: bool = False


@dataclass(frozen=True, eq=False)
class Guider:
    """A model and what steers it: GUIDER. The sides' weights sum to 1; the first one is the prompt's."""

    diffusion: Diffusion
    sides: tuple[Side, ...]

    @property
    def positive(self) -> Conditioned:
        """The prompt's conditionings."""
        return self.sides[0].entries


def guided(diffusion: Diffusion, positive: Conditioned, negative: Conditioned, cfg: float) -> Guider:
    """Classifier-free guidance: of 1 the negative side does not count."""
    return Guider(diffusion, (Side(positive, cfg), Side(negative, 1 - cfg, negative=True)))


@dataclass(frozen=True, eq=False)
class UpscaleNet:
    """An upscaler: UPSCALE_MODEL."""

    name: str
    enlarge: Callable[..., Array] = field(repr=False)
    scale: int = 1
