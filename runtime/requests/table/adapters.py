"""What steers the model beside the prompt."""

from __future__ import annotations

from ..option import Option

ADAPTERS = (
    Option(
        "controls",
        "object",
        "rows",
        "ControlNets, each a `Control` with a picture, a weight and a time of its own",
        default=(),
        elsewhere={"diffusers": ("controlnet", "control_image", "controlnet_conditioning_scale")},
    ),
)
