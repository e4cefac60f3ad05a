"""Which engine a command takes, by what is known before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .console import Console

if TYPE_CHECKING:
    from ..runtime.request import Request

# OpenVINO, faster a step, starts later than ONNX Runtime; with a graph of less than these bytes, and no more than these
# steps times pixels, the start is most of a command's time.
SMALL = 64 * 2**20
LITTLE = 32 * 128 * 128
EARLY, USUAL = ("onnxruntime", "cpu"), ("openvino", "cpu")


def choose(model: str, engine: Mapping[str, Any], requests: Sequence[Request], console: Console) -> dict[str, Any]:
    """The options of `overpaint.load`: as they are or, where none says otherwise, with the engine that starts
    first for one little picture of a small model."""
    from ..engines.auto import candidates
    from ..engines.bundle import Bundle
    from ..runtime.load import find

    free = engine["engine"] == "auto" and not (engine["device"] or engine["precision"] or "shapes" in engine)
    if not free or len(requests) != 1 or _work(requests[0]) > LITTLE:
        return dict(engine)
    bundle = Bundle.read(find(model), verify=False)
    usable = [(one.engine, one.device) for one in candidates(bundle) if not one.obstacle]
    if usable[:1] != [USUAL] or EARLY not in usable or max(graph.size for graph in bundle.graphs.values()) > SMALL:
        return dict(engine)
    console.say(
        f"on {EARLY[0]}, which starts first, for one little picture; --engine {USUAL[0]} for what many are made on"
    )
    return {**engine, "engine": EARLY[0], "device": EARLY[1]}


def _work(request: Request) -> int:
    """Steps times pixels."""
    width, height = request.size or request.image.size
    return request.steps * width * height * max(1, len(request.passes or ()))
