"""Variants of a bundle's graphs for ONNX Runtime: attention, and on a GPU group norms too, as operators of its own."""

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
from .geglu import count_gates, fuse_gates
from .group_norm import DOMAIN, count_norms, fuse_norms
from .merged_matmul import count_products, join_products
from .resize_nhwc import count_resizes, turn_resizes
from .skip_norm import count_residuals, count_sums, fuse_residuals, fuse_sums
from .token_gather import keep_places_on_gpu

# Where int8 rounds the other way, all that follows moves: inputs moved by 1e-6 move the output of `tiny` by 0.03.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "int8": 1e-1}


@dataclass(frozen=True)
class Fused:
    """How many operators a variant has of each kind: attentions, group norms with or without SiLU, gated linear units,
    sums that a norm adds up itself, sums with a bias that no norm does, products that were joined, and
    resizes with channels last."""

    attentions: int
    norms: int = 0
    gates: int = 0
    sums: int = 0
    residuals: int = 0
    products: int = 0
    resizes: int = 0

    def __str__(self) -> str:
        counts = {field.name.replace("norms", "group norms"): getattr(self, field.name) for field in fields(self)}
        return ", ".join(f"{count} {what}" for what, count in counts.items())


def build_onnxruntime(bundle: Graphs, report: Callable[[str], None] = lambda stage: None) -> list[Path]:
    """Make the variants of a bundle's graphs in its store, for any device and for a GPU; gives their files.

    A variant holds no weights but those of group norms: it names the graph's own files as theirs. `report` is told
    each stage as it begins. Raises `ExportError` where an operator cannot be fused or a variant differs from its graph,
    and `OutputError` where the store cannot be written.
    """
    store, built = Store.of(bundle.folder), []
    found = {candidate.device: candidate for candidate in candidates(bundle) if candidate.engine == "onnxruntime"}
    obstacle = found["cuda"].obstacle
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
            built.append(store.build(key, make, lambda: report("waiting for another build")))
    return built


def fuse(source: Path, target: Path, device: str = "cpu") -> Fused:
    """Write the variant of the graph at `source` to `target`; gives what is fused in it.

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
    counts = count_norms, count_gates, count_sums, count_residuals, count_products, count_resizes
    return Fused(attentions, *(count(graph) for count in counts))


def _fuse_for_gpu(model: ir.Model) -> tuple[int, ...]:
    """Fuse it, and take the arithmetic of shapes out; gives the numbers."""
    model.opset_imports.setdefault(DOMAIN, 1)
    norms = fuse_norms(model)
    gates = fuse_gates(model.graph)
    settle(model.graph)
    keep_places_on_gpu(model.graph)
    others = tuple(each(model.graph) for each in (fuse_sums, fuse_residuals, join_products, turn_resizes))
    RemoveUnusedNodesPass()(model)
    return norms, gates, *others


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


def _compare(name: str, graph: Graph, source: Path, variant: Path, device: str) -> None:
    host = random_feeds(graph.inputs, {axis: lengths.usual for axis, lengths in graph.ranges.items()})
    feeds = {feed: to_device(array, device) for feed, array in host.items()}
    made = [open_path(name, graph, path, source.parent, EngineOptions(device))(feeds) for path in (source, variant)]
    plain, fused = ([to_host(outputs[spec.name]) for spec in graph.outputs] for outputs in made)
    if not (error := worst(fused, plain)) <= TOLERANCE[graph.precision]:
        raise ExportError(
            f"{name}: the variant differs from the graph by {error:.3g} (relative), allowed is "
            f"{TOLERANCE[graph.precision]:g}; run without it, and report this with the version of onnxruntime"
        )
