"""Named sets of ordinary options for what people use image-to-image for. They are data: nothing else knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..engines.base import InputError, unknown


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
                {"strength": 0.6, "steps": 30, "sampler": "dpmpp_2m", "schedule": "karras", "guidance_scale": 7.0},
                "about 0.6 repaints surfaces and lines and leaves the composition; above 0.75 shapes begin to move",
            ),
            Preset(
                "sketch",
                "sketch to render",
                _PAINTING,
                {"strength": 0.8, "steps": 30, "sampler": "euler_a", "guidance_scale": 8.0},
                "flat paper has to turn into light and shade, so little of the sketch but its shapes may stay; an "
                "ancestral sampler's fresh noise invents texture, more guidance holds it to the prompt",
            ),
            Preset(
                "enhance",
                "photo enhancement",
                _PAINTING,
                {
                    "strength": 0.25,
                    "steps": 40,
                    "sampler": "dpmpp_2m",
                    "schedule": "karras",
                    "guidance_scale": 5.0,
                    "posterior": "mode",
                    "colour_match": "wavelet",
                },
                "a quarter of the schedule renews detail alone; the mean of the latents adds no noise of its own, and "
                "the low frequencies, the photo's light and colours, are taken back from it",
            ),
            Preset(
                "variation",
                "concept variation",
                ("img2img", "batch"),
                {
                    "strength": 0.7,
                    "steps": 30,
                    "sampler": "dpmpp_2m",
                    "schedule": "karras",
                    "guidance_scale": 6.0,
                    "variation_strength": 0.35,
                    "n": 4,
                },
                "four pictures whose noise is a third of the way from one seed to others: alike, but not the same",
            ),
            Preset(
                "colour",
                "colour correction",
                _PAINTING,
                {"strength": 0.35, "steps": 30, "sampler": "ddim", "guidance_scale": 5.0, "colour_match": "histogram"},
                "the result keeps its own light and shade and has the input's hues and saturation, which the model "
                "would drift from",
            ),
            Preset(
                "upscale",
                "upscaling",
                ("upscale",),
                {"strength": 0.3, "steps": 20, "sampler": "dpmpp_2m", "guidance_scale": 6.0, "noise": "field"},
                "enough to sharpen what the enlargement has blurred, too little to draw the prompt into every tile",
            ),
            Preset(
                "inpaint",
                "inpainting",
                ("inpaint",),
                {"strength": 0.8, "steps": 30, "sampler": "dpmpp_2m", "guidance_scale": 7.5},
                "enough to replace what is there, with some of its colour left to begin from",
            ),
            Preset(
                "outpaint",
                "outpainting",
                ("outpaint",),
                {"strength": 0.9, "steps": 40, "sampler": "euler_a", "guidance_scale": 7.5},
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
