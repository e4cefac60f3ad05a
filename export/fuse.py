"""Variants of a bundle's graphs for ONNX Runtime: attention, and on a GPU group norms too, as operators of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from ..engines.base import EngineError, ExportError
from ..engines.buffers import to_device, to_host
from ..engines.bundle import Graph, Graphs
from ..engines.compare import random_feeds, worst
from ..engines.ort import open_path, variant_key
from ..engines.registry import EngineOptions
from ..engines.store import Store
from .onnx import INLINE_BELOW
from .shapes import CHANNELS_LAST, CHANNELS_SECOND, settle

DOMAIN = "com.microsoft"
# Where int8 rounds the other way, all that follows moves: inputs moved by 1e-6 move the output of `tiny` by 0.03.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "int8": 1e-1}
_SWAPPED = (0, 2, 1, 3)  # the axes of heads and tokens


@dataclass(frozen=True)
class Fused:
    """How many operators a variant has of each kind: attentions, and group norms with or without SiLU."""

    attentions: int
    norms: int = 0


def build_onnxruntime(bundle: Graphs, report: Callable[[str], None] = lambda stage: None) -> list[Path]:
    """Make the variants of a bundle's graphs in its store, for any device and for a GPU; gives their files.

    A variant holds no weights but those of group norms: it names the graph's own files as theirs. `report` is told
    each stage as it begins. Raises `ExportError` where an operator cannot be fused or a variant differs from its graph,
    and `OutputError` where the store cannot be written.
    """
    store, built = Store.of(bundle.folder), []
    for name, graph in bundle.graphs.items():
        model = ir.load(bundle.folder / graph.file.path).graph
        for device, count in (("cpu", _attentions(model)), ("cuda", _norms(model))):
            if not count:
                report(f"{name}: has nothing to fuse for {device}")
                continue

            def make(target: Path, name: str = name, graph: Graph = graph, device: str = device) -> None:
                source = bundle.folder / graph.file.path
                fused = fuse(source, target, device)
                report(f"{name}: {fused.attentions} attentions and {fused.norms} norms fused for {device}; comparing")
                _compare(name, graph, source, target, device, report)

            key = variant_key(name, graph, device)
            built.append(store.build(key, make, lambda: report("waiting for another build")))
    return built


def fuse(source: Path, target: Path, device: str = "cpu") -> Fused:
    """Write the variant of the graph at `source` to `target`; gives what is fused in it.

    That for "cpu" serves every device, that for "cuda" has group norms that only a GPU's provider knows. Raises
    `ExportError` where an attention without a mask or, on "cuda", a group norm of a picture is left, which would be
    slow without a word.
    """
    model = ir.load(source)
    wanted = Fused(_attentions(model.graph), _norms(model.graph) if device == "cuda" else 0)
    RewriteRuleSet([RewriteRule(_rounded_after, _rounded_before, _one_scale)]).apply_to_model(model)
    attentions = RewriteRuleSet([RewriteRule(_apart, _together, _known)]).apply_to_model(model)
    fused = Fused(attentions, _fuse_norms(model) if device == "cuda" else 0)
    if device == "cuda":
        settle(model.graph)
        RemoveUnusedNodesPass()(model)
    if fused != wanted:
        raise ExportError(
            f"{source}: {fused.attentions} of {wanted.attentions} attentions and {fused.norms} of {wanted.norms} group "
            "norms can be fused; export with this version again"
        )
    _refer(model.graph, source)
    ir.save(model, target)
    return fused


def _attentions(graph: ir.Graph) -> int:
    """The number of attentions without a mask."""
    return sum(node.op_type == "Attention" and not node.domain and not _masked(node) for node in graph)


def _norms(graph: ir.Graph) -> int:
    """The number of group norms of pictures that a GPU's operator has: with an even number of channels a group."""
    return sum(node.op_type == "InstanceNormalization" and _of_picture(node) for node in graph)


def _of_picture(node: ir.Node) -> bool:
    """Whether an instance norm is a group norm's, of an array [rows, channels, height, width] or with both in one."""
    parted = node.inputs[0].producer() if node.inputs[0] else None
    picture = parted.inputs[0] if parted and parted.op_type == "Reshape" else None
    if picture is None or picture.shape is None or len(picture.shape) not in (3, 4):
        return False
    channels, groups = picture.shape[1], _groups(node)
    return isinstance(channels, int) and channels % (2 * groups) == 0


def _groups(node: ir.Node) -> int:
    scale = node.inputs[1]
    assert scale is not None
    assert scale.shape is not None
    return math.prod(int(length) for length in scale.shape)


def _masked(node: ir.Node) -> bool:
    causal = node.attributes.get("is_causal")
    return any(node.inputs[3:]) or (causal is not None and bool(causal.as_int()))


def _rounded_after(op: Any, given: Any, shape: Any, scale: Any, zero: Any) -> Any:
    """What int8 reads of an array whose heads were set apart."""
    apart = op.Transpose(op.Reshape(given, shape), perm=_SWAPPED)
    return op.DequantizeLinear(op.QuantizeLinear(apart, scale, zero), scale, zero)


def _rounded_before(op: Any, given: Any, shape: Any, scale: Any, zero: Any, **_: Any) -> Any:
    rounded = op.DequantizeLinear(op.QuantizeLinear(given, scale, zero), scale, zero)
    rounded.shape, rounded.type = given.shape, given.type
    return op.Transpose(op.Reshape(rounded, shape), perm=_SWAPPED)


def _one_scale(_context: Any, scale: ir.Value, **_: Any) -> bool:
    return scale.shape is not None and not scale.shape.dims


def _apart(op: Any, query: Any, key: Any, value: Any, part: Any, part_keys: Any, part_values: Any, join: Any) -> Any:
    """Attention with the heads on an axis of their own, made of and for arrays that hold them side by side."""
    queries = op.Transpose(op.Reshape(query, part), perm=_SWAPPED)
    keys = op.Transpose(op.Reshape(key, part_keys), perm=_SWAPPED)
    values = op.Transpose(op.Reshape(value, part_values), perm=_SWAPPED)
    attention = op.Attention(queries, keys, values, _outputs=["attention"])
    return op.Reshape(op.Transpose(attention, perm=_SWAPPED), join)


def _together(op: Any, query: Any, key: Any, value: Any, attention: ir.Value, **_: Any) -> Any:
    node = attention.producer()
    assert node is not None
    scale = node.attributes.get("scale")
    attributes = {"num_heads": _heads(attention)} | ({"scale": scale.as_float()} if scale else {})
    return op.MultiHeadAttention(query, key, value, **attributes, _domain=DOMAIN)


def _known(_context: Any, query: ir.Value, attention: ir.Value, **_: Any) -> bool:
    node = attention.producer()
    known = query.shape is not None and len(query.shape) == 3 and isinstance(_heads(attention), int)
    return known and node is not None and not _masked(node)


def _heads(attention: ir.Value) -> Any:
    """The number of heads; not an int where the graph does not say."""
    return attention.shape[1] if attention.shape else None


def _fuse_norms(model: ir.Model) -> int:
    """Make group norms operators on channels-last arrays, with the SiLU after them; gives their number.

    ONNX Runtime takes out the transposes between them and its convolutions, which are channels-last on a GPU.
    """
    rules = (
        RewriteRule(_norm_and_silu, partial(_channels_last, 1), _plain),
        RewriteRule(_norm, partial(_channels_last, 0), _plain),
    )
    return sum(RewriteRuleSet([rule]).apply_to_model(model) for rule in rules)


def _norm(op: Any, x: Any, parts: Any, ones: Any, zeros: Any, shape: Any, weight: Any, bias: Any) -> Any:
    normal = op.InstanceNormalization(op.Reshape(x, parts), ones, zeros, _outputs=["normal"])
    return op.Add(op.Mul(op.Reshape(normal, shape), weight), bias)


def _norm_and_silu(op: Any, x: Any, parts: Any, ones: Any, zeros: Any, shape: Any, weight: Any, bias: Any) -> Any:
    normed = _norm(op, x, parts, ones, zeros, shape, weight, bias)
    return op.Mul(normed, op.Sigmoid(normed))


def _plain(_context: Any, normal: ir.Value, weight: ir.Value, bias: ir.Value, **_: Any) -> bool:
    node = normal.producer()
    known = _constant(weight) is not None and _constant(bias) is not None
    return known and node is not None and _of_picture(node)


def _constant(value: ir.Value) -> NDArray[np.float32] | None:
    """A weight's numbers, also where it is cast in the graph."""
    cast = value.producer()
    stored = cast.inputs[0] if cast and cast.op_type == "Cast" else value
    return stored.const_value.numpy().astype(np.float32) if stored and stored.const_value else None


def _channels_last(activation: int, op: Any, x: Any, weight: Any, bias: Any, normal: ir.Value, **_: Any) -> Any:
    node = normal.producer()
    assert node is not None
    scale, offset = (
        op.initializer(ir.tensor(np.ravel(numbers)), name=f"{normal.name}.{kind}")
        for value, kind in ((weight, "scale"), (bias, "offset"))
        if (numbers := _constant(value)) is not None
    )
    epsilon = node.attributes.get("epsilon")
    settings = {
        "activation": activation,
        "epsilon": epsilon.as_float() if epsilon else 1e-5,
        "groups": _groups(node),
        "_domain": DOMAIN,
    }
    if len(x.shape) == 3:
        column, flat = (
            op.initializer(ir.tensor(np.array(lengths, np.int64)), name=f"{normal.name}.{kind}")
            for kind, lengths in (("column", (0, -1, 1, x.shape[1])), ("flat", (0, -1, x.shape[1])))
        )
        normed = op.GroupNorm(op.Reshape(op.Transpose(x, perm=(0, 2, 1)), column), scale, offset, **settings)
        return op.Transpose(op.Reshape(normed, flat), perm=(0, 2, 1))
    normed = op.GroupNorm(op.Transpose(x, perm=CHANNELS_LAST), scale, offset, **settings)
    normed.shape, normed.dtype = ir.Shape([x.shape[axis] for axis in CHANNELS_LAST]), x.dtype
    return op.Transpose(normed, perm=CHANNELS_SECOND)


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


def _compare(name: str, graph: Graph, source: Path, variant: Path, device: str, report: Callable[[str], None]) -> None:
    host = random_feeds(graph.inputs, {axis: lengths.usual for axis, lengths in graph.ranges.items()})
    try:
        feeds = {feed: to_device(array, device) for feed, array in host.items()}
        made = [open_path(name, graph, path, source.parent, EngineOptions(device))(feeds) for path in (source, variant)]
    except EngineError as exc:
        if device == "cpu":
            raise
        report(f"{name}: not compared, for want of a GPU here: {exc}")
        return
    plain, fused = ([to_host(outputs[spec.name]) for spec in graph.outputs] for outputs in made)
    if not (error := worst(fused, plain)) <= TOLERANCE[graph.precision]:
        raise ExportError(
            f"{name}: the variant differs from the graph by {error:.3g} (relative), allowed is "
            f"{TOLERANCE[graph.precision]:g}; run without it, and report this with the version of onnxruntime"
        )
