"""Nodes of image-prompt adapters (IP-Adapter), by the names that ComfyUI's extension for them has, and of the image
encoders that they have."""

from __future__ import annotations

from dataclasses import replace

from ...bundles.tensor import Array
from ...errors import InputError
from ...runtime.imaging.picture import Picture
from ...runtime.model.image_prompt import ImagePromptAdapter
from ..bench import Workbench
from ..context import Context
from ..node import node, outputs
from ..scaling import scaled_pictures
from ..sockets import choice, decimal, link
from ..values import Diffusion, EncodedImages, ImageUse
from .files import eight_bits

_BLOCKS = {"linear": "all", "style transfer": "style", "composition": "composition"}
_SIMPLE = {"standard": "all", "style transfer": "style"}
_PRESETS = (
    "LIGHT - SD1.5 only (low strength)", "STANDARD (medium strength)", "VIT-G (medium strength)",
    "PLUS (high strength)", "PLUS FACE (portraits)", "FULL FACE - SD1.5 only (portraits stronger)",
)  # fmt: skip
_SHARE = decimal(1.0, 0.0, 1.0, 0.001)


def image_prompts(bench: Workbench) -> list[str]:
    """The names of the image-prompt adapters."""
    return bench.image_prompts


@node(
    "IPAdapterModelLoader",
    needed={"ipadapter_file": choice(image_prompts)},
    outputs=outputs("IPADAPTER"),
    display="IPAdapter Model Loader",
    category="ipadapter/loaders",
)
def ip_adapter_model_loader(context: Context, ipadapter_file: str) -> ImagePromptAdapter:
    """An adapter by its name, with its own image encoder."""
    return context.bench.image_prompt(ipadapter_file)


@node(
    "IPAdapterUnifiedLoader",
    needed={"model": link("MODEL"), "preset": choice(lambda bench: [*_PRESETS, *bench.image_prompts])},
    optional={"ipadapter": link("IPADAPTER")},
    outputs=outputs(("MODEL", "model"), ("IPADAPTER", "ipadapter")),
    display="IPAdapter Unified Loader",
    category="ipadapter",
)
def ip_adapter_unified_loader(
    context: Context, model: Diffusion, preset: str, ipadapter: ImagePromptAdapter | None = None
) -> tuple[Diffusion, ImagePromptAdapter]:
    """An adapter by its name; a preset means the only one that fits the model."""
    return model, ipadapter or _preset(context.bench, model, preset)


def _preset(bench: Workbench, model: Diffusion, preset: str) -> ImagePromptAdapter:
    if preset in bench.image_prompts:
        return bench.image_prompt(preset)
    fitting = {name: held for name in bench.image_prompts if _fits(held := bench.image_prompt(name), model)}
    if len(fitting) != 1:
        names = ", ".join(fitting) or "none"
        raise InputError(
            f"{preset!r} means the only adapter that fits the model, and of those there is {names}; name one"
        )
    return next(iter(fitting.values()))


def _fits(adapter: ImagePromptAdapter, model: Diffusion) -> bool:
    try:
        adapter.check(model.model.bundle)
    except InputError:
        return False
    return True


@node(
    "IPAdapter",
    needed={
        "model": link("MODEL"),
        "ipadapter": link("IPADAPTER"),
        "image": link("IMAGE"),
        "weight": decimal(1.0, -1.0, 3.0, 0.05),
        "start_at": replace(_SHARE, default=0.0),
        "end_at": _SHARE,
        "weight_type": choice(tuple(_SIMPLE)),
    },
    outputs=outputs("MODEL"),
    display="IPAdapter",
    category="ipadapter",
)
def ip_adapter(
    context: Context,
    model: Diffusion,
    ipadapter: ImagePromptAdapter,
    image: Array,
    weight: float,
    start_at: float,
    end_at: float,
    weight_type: str,
) -> Diffusion:
    """The model also follows pictures, in a part of the sampling."""
    use = ImageUse(ipadapter, _pictures(image), weight, start_at, end_at, blocks=_SIMPLE[weight_type])
    return replace(model, images=(*model.images, use))


@node(
    "IPAdapterAdvanced",
    needed={
        "model": link("MODEL"),
        "ipadapter": link("IPADAPTER"),
        "image": link("IMAGE"),
        "weight": decimal(1.0, -1.0, 5.0, 0.05),
        "weight_type": choice(tuple(_BLOCKS)),
        "combine_embeds": choice(("concat", "average")),
        "start_at": replace(_SHARE, default=0.0),
        "end_at": _SHARE,
        "embeds_scaling": choice(("V only",)),
    },
    optional={"image_negative": link("IMAGE"), "clip_vision": link("CLIP_VISION")},
    outputs=outputs("MODEL"),
    display="IPAdapter Advanced",
    category="ipadapter",
)
def ip_adapter_advanced(
    context: Context,
    model: Diffusion,
    ipadapter: ImagePromptAdapter,
    image: Array,
    weight: float,
    weight_type: str,
    combine_embeds: str,
    start_at: float,
    end_at: float,
    embeds_scaling: str,
    image_negative: Array | None = None,
    clip_vision: ImagePromptAdapter | None = None,
) -> Diffusion:
    """The model also follows pictures, in a part of the sampling; the image encoder is the adapter's own."""
    if clip_vision not in (None, ipadapter):
        raise InputError("the image encoder is another adapter's; connect that of this adapter, or none")
    negative = None if image_negative is None else _pictures(image_negative)[0]
    use = ImageUse(
        ipadapter, _pictures(image), weight, start_at, end_at, negative, _BLOCKS[weight_type],
        average=combine_embeds == "average",
    )  # fmt: skip
    return replace(model, images=(*model.images, use))


def _pictures(images: Array) -> tuple[Picture, ...]:
    return tuple(Picture(eight_bits(each[..., :3])) for each in images)


@node(
    "CLIPVisionLoader",
    needed={"clip_name": choice(image_prompts)},
    outputs=outputs("CLIP_VISION"),
    display="Load CLIP Vision",
    category="loaders",
)
def clip_vision_loader(context: Context, clip_name: str) -> ImagePromptAdapter:
    """The image encoder of an image-prompt adapter, by the adapter's name."""
    return context.bench.image_prompt(clip_name)


@node(
    "CLIPVisionEncode",
    needed={"clip_vision": link("CLIP_VISION"), "image": link("IMAGE"), "crop": choice(("center", "none"))},
    outputs=outputs("CLIP_VISION_OUTPUT"),
    display="CLIP Vision Encode",
    category="conditioning",
)
def clip_vision_encode(context: Context, clip_vision: ImagePromptAdapter, image: Array, crop: str) -> EncodedImages:
    """Pictures for an image encoder: their middle square, or all of them stretched to one."""
    side = clip_vision.bundle.model.image_size
    if crop == "none":
        image = scaled_pictures(image[..., :3], side, side, "bicubic").clip(0, 1)
    return EncodedImages(clip_vision, _pictures(image))
