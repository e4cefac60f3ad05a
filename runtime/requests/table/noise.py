"""Where noise and latents come from."""

from __future__ import annotations

from dataclasses import replace

from ..option import PAINTING, Choices, Option

_KIND = Option(
    "noise",
    "name",
    "start",
    "whose seeds: cpu, gpu, or field, by place",
    usual="the convention's, usually cpu",
    choices=Choices("sampling.noise", "KINDS"),
    metavar="KIND",
    axis="cpu,field",
)

NOISE = (
    Option(
        "seed",
        "seed",
        "start",
        "where noise begins, counting up over the images; -1 draws one",
        default=0,
        usual="drawn, and printed",
        metavar="N",
        axis="1,2,3",
        elsewhere={"diffusers": ("generator",), "comfy": ("noise_seed",)},
    ),
    replace(_KIND, tools=PAINTING),
    replace(_KIND, usual="field; of tiles under a1111 gpu", tools=("upscale",)),
    Option(
        "posterior",
        "name",
        "start",
        "the VAE's latents: sample or mode",
        usual="the convention's: sample, but mode of a1111 and comfy",
        choices=("sample", "mode"),
        metavar="HOW",
        axis="sample,mode",
    ),
    Option(
        "variation_seed",
        "seed",
        "start",
        "whose noise the first is drawn towards; -1 draws one",
        metavar="SEED",
        elsewhere={"a1111": ("subseed",)},
        axis="4,5",
    ),
    Option(
        "variation_strength",
        "number",
        "start",
        "how far, 0 to 1; above 0 the variation seed counts up instead of the seed",
        default=0.0,
        least=0,
        most=1,
        metavar="S",
        axis="0.1,0.2",
        elsewhere={"a1111": ("subseed_strength",)},
    ),
    Option(
        "seed_resize_from",
        "size",
        "start",
        "put the noise of a picture of this size in the middle",
        metavar="WxH",
    ),
    Option(
        "eta_noise_seed_delta",
        "whole",
        "start",
        "draw the steps' noise from the seed so far on, A1111's eta noise seed delta",
        default=0,
        usual="0: go on with the seed's",
        least=-(2**63),
        most=2**63,
        flags=("--ensd",),
        metavar="N",
    ),
    Option(
        "origin",
        "object",
        "start",
        "(left, top) of the picture in a larger one, in pixels: where its field noise lies",
        default=(0, 0),
        tools=PAINTING,
    ),
)
