"""Torch-free image-to-image diffusion: a picture, a prompt and a denoising strength in; a repainted picture out.

>>> import overpaint
>>> pipe = overpaint.load("tiny")
>>> result = pipe("fox.png", "fox, ink style", strength=0.6, steps=20, seed=7)
>>> result.images[0].save("out.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engines.base import (
        BundleError,
        CancelledError,
        EngineError,
        ExportError,
        InputError,
        ModelOutputError,
        OutputError,
        OverpaintError,
        RunTimeoutError,
    )
    from .runtime.imaging.codec import Picture, read
    from .runtime.infotext import Infotext, from_infotext
    from .runtime.load import bundled, load
    from .runtime.loop import Step
    from .runtime.pipeline import Pipeline
    from .runtime.presets import Preset, preset
    from .runtime.replay import Replay, replay
    from .runtime.request import Change, Output, Region, Request, Result
    from .runtime.run import Checkpoint, Run
    from .runtime.sampling.plan import Plan
    from .runtime.upscaler import Upscaler, load_upscaler

__version__ = "0.1.0"

_HOMES = {
    "BundleError": ".engines.base",
    "CancelledError": ".engines.base",
    "EngineError": ".engines.base",
    "ExportError": ".engines.base",
    "InputError": ".engines.base",
    "ModelOutputError": ".engines.base",
    "OutputError": ".engines.base",
    "OverpaintError": ".engines.base",
    "RunTimeoutError": ".engines.base",
    "Change": ".runtime.request",
    "Checkpoint": ".runtime.run",
    "Preset": ".runtime.presets",
    "Replay": ".runtime.replay",
    "Output": ".runtime.request",
    "Picture": ".runtime.imaging.codec",
    "Infotext": ".runtime.infotext",
    "Pipeline": ".runtime.pipeline",
    "Plan": ".runtime.sampling.plan",
    "Region": ".runtime.request",
    "Request": ".runtime.request",
    "Result": ".runtime.request",
    "Run": ".runtime.run",
    "Step": ".runtime.loop",
    "Upscaler": ".runtime.upscaler",
    "bundled": ".runtime.load",
    "from_infotext": ".runtime.infotext",
    "load": ".runtime.load",
    "load_upscaler": ".runtime.upscaler",
    "preset": ".runtime.presets",
    "read": ".runtime.imaging.codec",
    "replay": ".runtime.replay",
}
__all__ = [
    "BundleError",
    "CancelledError",
    "Change",
    "Checkpoint",
    "EngineError",
    "ExportError",
    "Infotext",
    "InputError",
    "ModelOutputError",
    "Output",
    "OutputError",
    "OverpaintError",
    "Picture",
    "Pipeline",
    "Plan",
    "Preset",
    "Region",
    "Replay",
    "Request",
    "Result",
    "Run",
    "RunTimeoutError",
    "Step",
    "Upscaler",
    "bundled",
    "from_infotext",
    "load",
    "load_upscaler",
    "preset",
    "read",
    "replay",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
