"""An upscaler's file becomes a bundle of its own kind: one verified graph."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from ..bundles.upscaler import UpscalerBundle, UpscalerFacts
from ..errors import ExportError, InputError
from ..version import __version__
from . import components, wrappers
from .bundle import OPSET, Part, Precision, Report, check_opset, export_graph, stored_precision
from .checkpoints.checkpoint import State, check_state, read_tensors
from .publish import check_space, publish, remove_stale
from .upscaler_nets import NETS, Net, renamed

# Where training code keeps the weights within a file; the running mean is what is meant to be used.
PLACES = ("params_ema", "params", "state_dict", "model")
PICKLES = (".pth", ".pt", ".ckpt", ".bin")


def export_upscaler(
    checkpoint: Path,
    bundle: Path,
    *,
    precision: Precision = "float32",
    weights: Precision | None = None,
    opset: int = OPSET,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> UpscalerBundle:
    """Export an upscaler of the ESRGAN family to the folder `bundle` and read it back.

    `checkpoint` is a .safetensors file, or a pickle (.pth), of which nothing but tensors is read. RRDBNet (ESRGAN,
    BSRGAN, Real-ESRGAN) and SRVGGNetCompact are known, under the names of their several codes; scale and size are read
    off the tensors. The options, and what else is raised, are those of `export_bundle`. Raises `InputError` for a file
    that cannot be read or is of no upscaler that is known.
    """
    checkpoint, bundle = Path(checkpoint), Path(bundle)
    stored = stored_precision(precision, weights)
    check_opset(opset)
    net = load_upscaler(checkpoint)
    facts = UpscalerFacts(
        name=bundle.name,
        architecture=type(net).__name__,
        scale=net.scale,
        multiple=net.multiple,
        default_size=(components.UPSCALER_TILE, components.UPSCALER_TILE),
        origin={"checkpoint": checkpoint.name},
    )
    part = Part(components.upscaler(net.scale, net.multiple), lambda: wrappers.Upscaler(net), (torch,))
    remove_stale(bundle)
    count = sum(parameter.numel() for parameter in net.parameters())
    check_space(bundle, count * torch.finfo(getattr(torch, stored)).bits // 8)
    with publish(bundle, overwrite) as folder:
        graph = export_graph(part, folder, precision, stored, opset, report)
        UpscalerBundle(folder, facts, {part.component.name: graph}, f"overpaint {__version__}").write_manifest()
    return UpscalerBundle.read(bundle, verify=False)


def load_upscaler(checkpoint: Path) -> Net:
    """The network of a file, in float32; raises as `export_upscaler` does."""
    state = renamed(_read(checkpoint))
    kind = next((kind for name, kind in NETS.items() if name in state), None)
    if kind is None:
        raise InputError(
            f"{checkpoint}: holds no upscaler that is known ({', '.join(each.__name__ for each in NETS.values())}); "
            "name one of the ESRGAN family"
        )
    try:
        with torch.device("meta"):
            net = kind.of(state)
        own = net.state_dict()
        check_state(kind.__name__, sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys()))
        net.load_state_dict(state, assign=True)
    except (KeyError, ValueError, IndexError, RuntimeError) as exc:
        raise ExportError(f"{checkpoint}: is not laid out as {kind.__name__} ({exc}); name another file") from exc
    return net.float().eval().requires_grad_(False)


def _read(checkpoint: Path) -> State:
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file; name an upscaler's .safetensors or .pth file")
    if checkpoint.suffix.lower() == ".safetensors":
        return read_tensors([checkpoint])
    if checkpoint.suffix.lower() not in PICKLES:
        raise InputError(f"{checkpoint}: is neither a .safetensors nor a .pth file")
    try:
        state: Any = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise InputError(
            f"{checkpoint}: is truncated, or holds more than tensors, and loading that can run any code hidden in it; "
            "copy it again, or fetch the upscaler's .safetensors edition"
        ) from exc
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise InputError(f"{checkpoint}: is truncated or damaged ({exc}); copy it again") from exc
    for place in PLACES:
        if isinstance(state, dict) and isinstance(state.get(place), dict):
            state = state[place]
    if not isinstance(state, dict):
        raise InputError(f"{checkpoint}: holds a {type(state).__name__}, not an upscaler's weights; name another file")
    return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}
