"""Modules of many weights: run, and captured, without a copy of them in memory.

A checkpoint's weights are mapped from disk in the precision that it has. To run such a module in float32, each layer's
weights are widened just before it and let go just after it. To capture one, weights of no memory stand in for its own
(torch's FakeTensorMode); the graph gets its own when it is written, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from onnxscript import ir
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from .lazy import lazy
from .stored import turn_weights

# Copies of more would not fit into what an export may take.
LARGE = 2 * 2**30


def is_large(state: Mapping[str, Tensor]) -> bool:
    """Whether a part is exported as a stream: its weights as float32 are many, and stored in half precision, or even
    mapped ones are too many for what folding copies of them."""
    floats = [tensor for tensor in state.values() if tensor.is_floating_point()]
    as_float32 = 4 * sum(tensor.numel() for tensor in floats)
    half = any(tensor.dtype != torch.float32 for tensor in floats)
    return as_float32 > (LARGE if half else 2 * LARGE)


def is_half(state: Mapping[str, Tensor]) -> bool:
    """Whether a part's weights are stored in 16 bits."""
    return all(tensor.dtype.itemsize == 2 for tensor in state.values() if tensor.is_floating_point())


@contextmanager
def in_float32(module: nn.Module) -> Iterator[None]:
    """Have a module compute in float32 whatever its weights are; one layer's are widened at a time."""
    handles = []
    for layer in module.modules():
        own = {name: weight for name, weight in layer.named_parameters(recurse=False) if weight.dtype != torch.float32}
        if own:
            handles.append(layer.register_forward_pre_hook(partial(_set, own, widen=True)))
            handles.append(layer.register_forward_hook(partial(_set, own, widen=False), always_call=True))
    module.widened = True  # type: ignore[assignment]
    try:
        yield
    finally:
        module.widened = False  # type: ignore[assignment]
        for handle in handles:
            handle.remove()


def _set(weights: Mapping[str, nn.Parameter], layer: nn.Module, *_: Any, widen: bool) -> None:
    for name, weight in weights.items():
        layer._parameters[name] = nn.Parameter(weight.data.float(), requires_grad=False) if widen else weight


class FakeWeights:
    """A module whose weights are fake, in the precision of the graph, until the graph is `attach`ed to its own."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
        self._dtype = dtype
        self._own: dict[str, Tensor] = {}
        for prefix, layer in module.named_modules():
            for kind in (layer._parameters, layer._buffers):
                for name, tensor in kind.items():
                    if tensor is not None:
                        self._own[f"{prefix}.{name}".lstrip(".")] = tensor.detach()
                        kind[name] = self._fake(tensor)

    def _fake(self, tensor: Tensor) -> Tensor:
        with self.mode:
            fake = torch.empty(tensor.shape, dtype=self._stored(tensor))
        return nn.Parameter(fake, requires_grad=False) if isinstance(tensor, nn.Parameter) else fake

    def _stored(self, tensor: Tensor) -> torch.dtype:
        return self._dtype if tensor.is_floating_point() else tensor.dtype

    def inputs(self, arrays: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Inputs of the capture."""
        return tuple(self.mode.from_tensor(array, static_shapes=False) for array in arrays)

    def attach(self, graph: ir.Graph) -> None:
        """Give a graph's initializers the module's own weights, which are read when they are written."""
        for name, value in list(graph.initializers.items()):
            if name in self._own:
                own = self._own[name]
                value.const_value = lazy(own, self._stored(own))
                value.shape, value.dtype = value.const_value.shape, value.const_value.dtype
        turn_weights(graph, self._own, self._stored)
