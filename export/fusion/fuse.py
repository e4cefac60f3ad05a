"""Optimized graphs for ONNX Runtime: attention, and on a GPU group norms and more, as operators of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import ir

from ...bundles.graph import Graph
from ...bundles.manifest import Graphs
from ...bundles.store import Store
from ...engines.arrays import to_device, to_host
from ...engines.compare import random_feeds, worst
from ...engines.ort.engine import open_path, optimized_key
from ...engines.registry import EngineOptions
from ...engines.select import candidates
from ...errors import ExportError
from ..onnx import INLINE_BELOW
from ..shapes import settle
from .attention import count_attentions, fuse_attentions
from .geglu import count_geglus, fuse_geglus
from .group_norm import DOMAIN, count_norms, fuse_norms
from .merged_matmul import count_matmuls, merge_matmuls
from .resize_nhwc import count_nhwc_resizes, make_resizes_nhwc
from .skip_norm import count_bias_adds, count_skip_norms, fuse_bias_adds, fuse_skip_norms
from .token_gather import keep_gathers_on_gpu

# Where int8 rounds the other way, all that follows moves: inputs moved by 1e-6 move the output of `tiny` by 0.03.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "int8": 1e-1}


@dataclass(frozen=True)
class Fused:
    """How many operators an optimized graph has of each kind.

    Attentions, group norms with or without SiLU, gated linear units, norms that add up their array themselves, sums
    with a bias of which no norm is taken, matrix products that were merged, and resizes with channels last.
    """

    attentions: int
    group_norms: int = 0
    geglus: int = 0
    skip_norms: int = 0
    bias_adds: int = 0
    merged_matmuls: int = 0
    nhwc_resizes: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, field.name)} {field.name.replace('_', ' ')}" for field in fields(self))


def build_onnxruntime(bundle: Graphs, report: Callable[[str], None] = lambda stage: None) -> list[Path]:
    """Write the optimized graphs of a bundle into its store, for any device and for a GPU; returns their files.

    They hold no weights but those of group norms: the others are read from the graph's own files. `report` is called
    with each stage as it begins. Raises `ExportError` where an operator cannot be fused or an optimized graph differs
    from the original, and `OutputError` where the store cannot be written.
    """
    store, paths = Store.of(bundle.folder), []
    own = {candidate.device: candidate for candidate in candidates(bundle) if candidate.engine == "onnxruntime"}
    obstacle = own["cuda"].obstacle
    for name, graph in bundle.graphs.items():
        model = ir.load(bundle.folder / graph.file.path).graph
        for device in ("cpu", "cuda"):
            if _to_fuse(model, device) == Fused(0):
                report(f"{name}: has nothing to fuse for {device}")
                continue

            def make(target: Path, name: str = name, graph: Graph = graph, device: str = device) -> None:
                source = bundle.folder / graph.file.path
                fused = fuse(source, target, device)
                report(f"{name}: {fused} fused for {device}; comparing")
                if device == "cuda" and obstacle:
                    report(f"{name}: not compared, for want of a GPU here: {obstacle}")
                else:
                    _compare(name, graph, source, target, device)

            key = optimized_key(name, graph, device)
            paths.append(store.build(key, make, lambda: report("waiting for another build")))
    return paths


def fuse(source: Path, target: Path, device: str = "cpu") -> Fused:
    """Write the optimized graph of the one at `source` to `target`; returns what is fused in it.

    That for "cpu" serves every device, that for "cuda" has operators that only a GPU's provider knows. Raises
    `ExportError` where something that `Fused` counts is left, which would be slow without a word.
    """
    model = ir.load(source)
    wanted = _to_fuse(model.graph, device)
    attentions = fuse_attentions(model, causal=device == "cuda")
    fused = Fused(attentions, *(_fuse_for_gpu(model) if device == "cuda" else ()))
    if fused != wanted:
        raise ExportError(f"{source}: of {wanted}, {fused} can be fused; export with this version again")
    _refer(model.graph, source)
    ir.save(model, target)
    return fused


def _to_fuse(graph: ir.Graph, device: str) -> Fused:
    attentions = count_attentions(graph, causal=device == "cuda")
    if device == "cpu":
        return Fused(attentions)
    counts = count_norms, count_geglus, count_skip_norms, count_bias_adds, count_matmuls, count_nhwc_resizes
    return Fused(attentions, *(count(graph) for count in counts))


def _fuse_for_gpu(model: ir.Model) -> tuple[int, ...]:
    """Fuse it, and take the arithmetic of shapes out; gives the numbers."""
    model.opset_imports.setdefault(DOMAIN, 1)
    norms = fuse_norms(model)
    geglus = fuse_geglus(model.graph)
    settle(model.graph)
    keep_gathers_on_gpu(model.graph)
    others = tuple(each(model.graph) for each in (fuse_skip_norms, fuse_bias_adds, merge_matmuls, make_resizes_nhwc))
    RemoveUnusedNodesPass()(model)
    return norms, geglus, *others


def _refer(graph: ir.Graph, source: Path) -> None:
    """Have the weights that are inside the file `source` read from there, as external data."""
    content, end = source.read_bytes(), 0
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None or isinstance(tensor, ir.ExternalTensor) or tensor.nbytes < INLINE_BELOW:
            continue
        data = tensor.tobytes()
        # They are stored in this order; one that is not found from here on has its equal before.
        if (start := content.find(data, end)) < 0 and (start := content.find(data)) < 0:
            continue
        end = start + len(data)
        value.const_value = ir.ExternalTensor(
            source.name, start, len(data), tensor.dtype, shape=tensor.shape, name=value.name, base_dir=source.parent
        )


def _compare(name: str, graph: Graph, source: Path, optimized: Path, device: str) -> None:
    host = random_feeds(graph.inputs, {axis: lengths.usual for axis, lengths in graph.ranges.items()})
    feeds = {feed: to_device(array, device) for feed, array in host.items()}
    engines = (open_path(name, graph, path, source.parent, EngineOptions(device)) for path in (source, optimized))
    plain, fused = (
        [to_host(outputs[spec.name]) for spec in graph.outputs] for outputs in (engine(feeds) for engine in engines)
    )
    if not (error := worst(fused, plain)) <= TOLERANCE[graph.precision]:
        raise ExportError(
            f"{name}: the optimized graph differs from the graph by {error:.3g} (relative), allowed is "
            f"{TOLERANCE[graph.precision]:g}; run without it, and report this with the version of onnxruntime"
        )
