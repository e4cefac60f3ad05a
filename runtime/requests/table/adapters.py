"""What steers the model beside the prompt."""

from __future__ import annotations

from ..option import Choices, Option

ADAPTERS = (
    Option(
        "controls",
        "object",
        "rows",
        "ControlNets, each a `Control` with a picture, a weight and a time of its own",
        default=(),
        elsewhere={"diffusers": ("controlnet", "control_image", "controlnet_conditioning_scale")},
    ),
    Option(
        "control_weight",
        "number",
        "rows",
        "how much all ControlNets count, a factor of their own weights",
        default=1.0,
        least=0,
        most=2,
        metavar="W",
        axis="0,0.5,1",
    ),
    Option(
        "image_prompts",
        "object",
        "rows",
        "pictures that steer the model beside the text, each an `ImagePrompt`",
        default=(),
        flags=("--image-prompt",),
        elsewhere={"diffusers": ("ip_adapter_image",)},
    ),
    Option(
        "image_weight",
        "number",
        "rows",
        "how much all image prompts count beside the text, 0 to 3",
        default=1.0,
        least=0,
        most=3,
        metavar="W",
        axis="0.5,1,1.5",
    ),
    Option(
        "image_blend",
        "name",
        "rows",
        "how several image prompts come together: tokens side by side, or the average of what they show",
        default="tokens",
        choices=Choices("requests.image_prompts", "BLENDS"),
        noun="blend of image prompts",
        metavar="HOW",
        axis="tokens,average",
    ),
)
