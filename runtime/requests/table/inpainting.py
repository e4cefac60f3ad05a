"""How masks are read, and what is done under them."""

from __future__ import annotations

from ...imaging.limits import MAX_SIDE
from ..option import Choices, Option

_HERE = ("inpaint",)
_SOFT = "of levels soft, under a1111:"


def _soft(name: str, default: float, least: float, most: float, help_: str) -> Option:
    return Option(
        f"soft_{name}", "number", "rows", help_, default=default, least=least, most=most, tools=_HERE, metavar="N"
    )


LATENT_MASK = Option(
    "latent_mask",
    "name",
    "start",
    "cover, or as diffusers or a1111 do it",
    default="cover",
    usual="cover; a1111 under a1111",
    choices=Choices("imaging.mask", "LATENT_MODES"),
    noun="latent mask",
    tools=_HERE,
    metavar="HOW",
)
RING = Option(
    "ring",
    "whole",
    "picture",
    "pixels around the mask that tell a colour shift",
    default=16,
    usual="16; 0 under a1111",
    least=0,
    most=MAX_SIDE,
    unit=" of pixels",
    tools=_HERE,
    metavar="PX",
)
RING_FIELD = Option(
    "ring_field",
    "name",
    "picture",
    "how the shift lies over the picture: constant, linear or quadratic",
    default="constant",
    choices=Choices("imaging.ring", "FIELDS"),
    noun="shift field",
    tools=_HERE,
    metavar="NAME",
)

INPAINTING = (
    Option(
        "channel",
        "name",
        "start",
        "of the mask: auto, luma or alpha",
        default="auto",
        choices=Choices("imaging.mask", "CHANNELS"),
        noun="mask channel",
        tools=_HERE,
        metavar="NAME",
    ),
    Option(
        "invert",
        "flag",
        "start",
        "repaint black instead of white",
        default=False,
        tools=_HERE,
        elsewhere={"a1111": ("inpainting_mask_invert",)},
    ),
    Option("resize_mask", "flag", "start", "scale a mask of another size to the picture's", default=False, tools=_HERE),
    Option(
        "grow",
        "whole",
        "start",
        "pixels that the mask grows by; negative shrinks it",
        default=0,
        least=-MAX_SIDE,
        most=MAX_SIDE,
        unit=" of pixels",
        tools=_HERE,
        metavar="PX",
    ),
    Option(
        "blur",
        "blur",
        "start",
        "of the mask: sigma, or x and y",
        default=4.0,
        least=0,
        most=256,
        noun="a mask's blur",
        tools=_HERE,
        flags=("--mask-blur",),
        metavar="PX[,PX]",
    ),
    Option(
        "blur_kind",
        "name",
        "start",
        "whose blur: a1111's or diffusers'",
        default="a1111",
        choices=Choices("imaging.mask_shape", "BLURS"),
        noun="mask blur",
        tools=_HERE,
        metavar="NAME",
    ),
    Option(
        "levels",
        "name",
        "start",
        "what greys of the mask are: hard, soft (soft inpainting) or strength (a strength a pixel)",
        default="hard",
        choices=("hard", "soft", "strength"),
        noun="way with levels",
        tools=_HERE,
        metavar="WAY",
    ),
    Option(
        "content",
        "name",
        "start",
        "what masked pixels begin as: original, fill, noise, nothing",
        default="original",
        choices=Choices("requests.places", "CONTENTS", ("fill",)),
        noun="masked content",
        elsewhere={"a1111": ("inpainting_fill",)},
        tools=_HERE,
        metavar="WHAT",
    ),
    Option(
        "only_masked",
        "flag",
        "start",
        "work on the mask's rectangle at the model's size",
        elsewhere={"a1111": ("inpaint_full_res",)},
        default=False,
        tools=_HERE,
    ),
    Option(
        "padding",
        "whole",
        "start",
        "pixels seen around that rectangle",
        elsewhere={"a1111": ("inpaint_full_res_padding",), "diffusers": ("padding_mask_crop",)},
        default=32,
        least=0,
        most=MAX_SIDE,
        unit=" of pixels",
        tools=_HERE,
        metavar="PX",
    ),
    LATENT_MASK,
    RING,
    RING_FIELD,
    _soft("preservation", 0.5, 0, 8, "of levels soft: how much of the original greys keep"),
    _soft("bias", 1.0, 0, 8, f"{_SOFT} towards early steps above 1, late ones below"),
    _soft("boost", 4.0, 1, 32, f"{_SOFT} of contrast where greys blend"),
    _soft("influence", 0.0, 0, 1, f"{_SOFT} of the mask on the threshold of the paste, 0 to 1"),
    _soft("threshold", 0.5, 0, 8, f"{_SOFT} how far latents move where half of the new shows"),
    _soft("contrast", 2.0, 0, 8, f"{_SOFT} of the paste"),
)
