"""Nodes of image-prompt adapters (IP-Adapter), by the names that ComfyUI's extension for them has."""

from __future__ import annotations

from dataclasses import replace

from ...bundles.tensor import Array
from ...runtime.imaging.picture import Picture
from ...runtime.model.image_prompt import ImagePromptAdapter
from ..bench import Workbench
from ..context import Context
from ..node import node, outputs
from ..sockets import choice, decimal, link
from ..values import Diffusion, ImageUse
from .files import eight_bits


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
    "IPAdapterAdvanced",
    needed={
        "model": link("MODEL"),
        "ipadapter": link("IPADAPTER"),
        "image": link("IMAGE"),
        "weight": decimal(1.0, -1.0, 5.0, 0.05),
        "weight_type": choice(("linear",)),
        "combine_embeds": choice(("concat",)),
        "start_at": decimal(0.0, 0.0, 1.0, 0.001),
        "end_at": decimal(1.0, 0.0, 1.0, 0.001),
        "embeds_scaling": choice(("V only",)),
    },
    optional={"image_negative": link("IMAGE")},
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
) -> Diffusion:
    """The model also follows pictures, in a part of the sampling."""
    pictures = tuple(Picture(eight_bits(each[..., :3])) for each in image)
    negative = None if image_negative is None else Picture(eight_bits(image_negative[0, ..., :3]))
    use = ImageUse(ipadapter, pictures, weight, start_at, end_at, negative)
    return replace(model, images=(*model.images, use))
