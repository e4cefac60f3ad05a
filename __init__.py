"""Torch-free image-to-image diffusion: a picture, a prompt and a denoising strength in; a repainted picture out.

>>> import overpaint
>>> pipe = overpaint.load("tiny")
>>> result = pipe("fox.png", "fox, ink style", strength=0.6, steps=20, seed=7)
>>> result.images[0].save("out.png")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .errors import (
        BundleError,
        CancelledError,
        ClosedError,
        EngineError,
        EngineHungError,
        ExportError,
        InputError,
        ModelOutputError,
        OutOfMemoryError,
        OutputError,
        OverpaintError,
        RefusedError,
        RunTimeoutError,
    )
    from .runtime.denoising.loop import Step
    from .runtime.execution.run import Run
    from .runtime.execution.snapshots import RunSnapshot
    from .runtime.imaging.picture import Picture, read
    from .runtime.model.controlnet import ControlNet, load_controlnet
    from .runtime.model.image_prompt import ImagePromptAdapter, load_image_prompt
    from .runtime.model.load import bundled
    from .runtime.model.model import Model
    from .runtime.model.tickets import Ticket
    from .runtime.model.upscaler import Upscaler, load_upscaler
    from .runtime.pipeline import Pipeline, load
    from .runtime.provenance.infotext import Infotext, from_infotext
    from .runtime.replay import Replay, replay
    from .runtime.requests.controls import Control
    from .runtime.requests.image_prompts import ImagePrompt
    from .runtime.requests.places import DepthMap, InpaintMask, Region
    from .runtime.requests.presets import Preset, preset
    from .runtime.requests.request import Request
    from .runtime.requests.result import Output, Result
    from .runtime.requests.schema import options_schema
    from .runtime.sampling.plan import Plan
    from .workflow.bench import Workbench
    from .workflow.run import WorkflowResult, run_workflow

_HOMES = {
    "BundleError": ".errors",
    "CancelledError": ".errors",
    "ClosedError": ".errors",
    "EngineError": ".errors",
    "EngineHungError": ".errors",
    "ExportError": ".errors",
    "InputError": ".errors",
    "ModelOutputError": ".errors",
    "OutOfMemoryError": ".errors",
    "OutputError": ".errors",
    "OverpaintError": ".errors",
    "RefusedError": ".errors",
    "RunTimeoutError": ".errors",
    "Control": ".runtime.requests.controls",
    "DepthMap": ".runtime.requests.places",
    "ImagePrompt": ".runtime.requests.image_prompts",
    "ImagePromptAdapter": ".runtime.model.image_prompt",
    "InpaintMask": ".runtime.requests.places",
    "RunSnapshot": ".runtime.execution.snapshots",
    "ControlNet": ".runtime.model.controlnet",
    "load_controlnet": ".runtime.model.controlnet",
    "Preset": ".runtime.requests.presets",
    "Replay": ".runtime.replay",
    "Model": ".runtime.model.model",
    "Output": ".runtime.requests.result",
    "Picture": ".runtime.imaging.picture",
    "Infotext": ".runtime.provenance.infotext",
    "Pipeline": ".runtime.pipeline",
    "Plan": ".runtime.sampling.plan",
    "Region": ".runtime.requests.places",
    "Request": ".runtime.requests.request",
    "Result": ".runtime.requests.result",
    "Run": ".runtime.execution.run",
    "Step": ".runtime.denoising.loop",
    "Ticket": ".runtime.model.tickets",
    "Upscaler": ".runtime.model.upscaler",
    "Workbench": ".workflow.bench",
    "WorkflowResult": ".workflow.run",
    "bundled": ".runtime.model.load",
    "from_infotext": ".runtime.provenance.infotext",
    "load": ".runtime.pipeline",
    "options_schema": ".runtime.requests.schema",
    "load_image_prompt": ".runtime.model.image_prompt",
    "load_upscaler": ".runtime.model.upscaler",
    "preset": ".runtime.requests.presets",
    "read": ".runtime.imaging.picture",
    "replay": ".runtime.replay",
    "run_workflow": ".workflow.run",
}
__all__ = [
    "BundleError",
    "CancelledError",
    "ClosedError",
    "Control",
    "ControlNet",
    "DepthMap",
    "EngineError",
    "EngineHungError",
    "ExportError",
    "ImagePrompt",
    "ImagePromptAdapter",
    "Infotext",
    "InpaintMask",
    "InputError",
    "Model",
    "ModelOutputError",
    "OutOfMemoryError",
    "Output",
    "OutputError",
    "OverpaintError",
    "Picture",
    "Pipeline",
    "Plan",
    "Preset",
    "RefusedError",
    "Region",
    "Replay",
    "Request",
    "Result",
    "Run",
    "RunSnapshot",
    "RunTimeoutError",
    "Step",
    "Ticket",
    "Upscaler",
    "Workbench",
    "WorkflowResult",
    "bundled",
    "from_infotext",
    "load",
    "load_controlnet",
    "load_image_prompt",
    "load_upscaler",
    "options_schema",
    "preset",
    "read",
    "replay",
    "run_workflow",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
