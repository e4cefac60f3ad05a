"""Named sets of options for what people use image-to-image for. They are data: nothing else knows them.

Steps, guidance and strength are so many times the model's own: 20, 7.5 and 0.6 of Stable Diffusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...errors import InputError, unknown
from .defaults import Times


@dataclass(frozen=True)
class Preset:
    """Options for a use, by the names that `pipe(...)` and the commands have for them, and why they are what they are.

    `commands` are those of the command line that it belongs to, the usual one first.
    """

    name: str
    use: str
    commands: tuple[str, ...]
    options: Mapping[str, Any]
    why: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))


_PAINTING = ("img2img", "batch", "grid")

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                "style",
                "style transfer",
                _PAINTING,
                {
                    "steps": Times(1.5),
                    "sampler": "dpmpp_2m",
                    "schedule": "karras",
                    "guidance_scale": Times(0.92),
                },
                "the model's own strength repaints surfaces and lines and leaves the composition; a quarter more and "
                "shapes begin to move",
            ),
            Preset(
                "sketch",
                "sketch to render",
                _PAINTING,
                {
                    "strength": Times(1.33),
                    "steps": Times(1.5),
                    "sampler": "euler_a",
                    "guidance_scale": Times(1.08),
                },
                "flat paper has to turn into light and shade, so little of the sketch but its shapes may stay; an "
                "ancestral sampler's fresh noise invents texture, more guidance holds it to the prompt",
            ),
            Preset(
                "enhance",
                "photo enhancement",
                _PAINTING,
                {
                    "strength": Times(0.42),
                    "steps": Times(2.0),
                    "sampler": "dpmpp_2m",
                    "schedule": "karras",
                    "guidance_scale": Times(0.62),
                    "posterior": "mode",
                    "colour_match": "wavelet",
                },
                "less than half of the usual strength renews detail alone; the mean of the latents adds no noise of its"
                " own, and the low frequencies, the photo's light and colours, are taken back from it",
            ),
            Preset(
                "variation",
                "concept variation",
                ("img2img", "batch"),
                {
                    "strength": Times(1.17),
                    "steps": Times(1.5),
                    "sampler": "dpmpp_2m",
                    "schedule": "karras",
                    "guidance_scale": Times(0.77),
                    "variation_strength": 0.35,
                    "n": 4,
                },
                "four pictures whose noise is a third of the way from one seed to others: alike, but not the same",
            ),
            Preset(
                "colour",
                "colour correction",
                _PAINTING,
                {
                    "strength": Times(0.58),
                    "steps": Times(1.5),
                    "sampler": "ddim",
                    "guidance_scale": Times(0.62),
                    "colour_match": "histogram",
                },
                "the result keeps its own light and shade and has the input's hues and saturation, which the model "
                "would drift from",
            ),
            Preset(
                "upscale",
                "upscaling",
                ("upscale",),
                {"sampler": "dpmpp_2m", "guidance_scale": Times(0.77), "noise": "field"},
                "enough to sharpen what the enlargement has blurred, too little to draw the prompt into every tile",
            ),
            Preset(
                "inpaint",
                "inpainting",
                ("inpaint",),
                {
                    "strength": Times(1.33),
                    "steps": Times(1.5),
                    "sampler": "dpmpp_2m",
                },
                "enough to replace what is there, with some of its colour left to begin from",
            ),
            Preset(
                "outpaint",
                "outpainting",
                ("outpaint",),
                {
                    "strength": Times(0.9),
                    "steps": Times(2.0),
                    "sampler": "euler_a",
                },
                "what is beyond the edge is invented, from little more than the margin's colours; an ancestral sampler "
                "goes on mending the seam until late",
            ),
        )
    }
)


def preset(name: str, command: str | None = None) -> Preset:
    """A preset by its name; raises `InputError` for an unknown one, and for one that is not of the command."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    found = PRESETS[name]
    if command is not None and command not in found.commands:
        raise InputError(f"the preset {name!r} is of {', '.join(found.commands)}, not of {command}; choose another")
    return found
