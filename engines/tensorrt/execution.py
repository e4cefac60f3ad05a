"""How TensorRT's execution contexts are driven: shapes set, tensors bound, the order of calls, capture and replay.

The library's objects and the device are parameters, so that this can be tested without either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from ...bundles.profile import Profile
from ...bundles.tensor import Array, TensorSpec
from ...errors import EngineError

Shapes = Mapping[str, tuple[int, ...]]


class ExecutionContext(Protocol):
    """The part of TensorRT's IExecutionContext that is used; its setters return False where they refuse."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Take an optimisation profile; comes before the shapes."""
        ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        """Set an input's shape, which the profile has to hold."""
        ...

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        """The shape of an input or output, once all inputs' are set."""
        ...

    def infer_shapes(self) -> list[str]:
        """Work out the outputs' shapes; gives the names of the tensors that lack something."""
        ...

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Say where an input or output lies on the device."""
        ...

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Put a run on a stream."""
        ...


class Device(Protocol):
    """The part of `overpaint.engines.tensorrt.device.Cuda` that running an engine needs."""

    @property
    def stream(self) -> int:
        """The handle of the stream that everything is put on."""
        ...

    def ordered(self) -> AbstractContextManager[None]:
        """Put what is inside after the caller's earlier work and before its later work."""
        ...

    def allocate(self, size: int) -> Any:
        """Memory of so many bytes; raises `OutOfMemoryError` where there is no more."""
        ...

    def address(self, memory: Any) -> int:
        """Where memory lies."""
        ...

    def recording(self) -> bool:
        """Whether a CUDA graph is being recorded that this run is a part of."""
        ...

    def on_device(self, array: Array) -> bool:
        """Whether an array lies on the device."""
        ...

    def write(self, memory: Any, array: Array) -> None:
        """Copy an array, of host or device, to the beginning of memory."""
        ...

    def read(self, memory: Any, shape: tuple[int, ...], dtype: str, *, host: bool) -> Array:
        """A copy of what memory begins with, on the host or the device."""
        ...

    def capture(self, enqueue: Callable[[], None]) -> Callable[[], None]:
        """Record what `enqueue` puts on the stream, without running it; gives what runs it."""
        ...

    def trim(self) -> None:
        """Give unused memory back."""
        ...


class Execution:
    """One execution context on one profile of an engine.

    Every tensor has memory for its greatest shape in the profile, bound once. With `graphs`, shapes that come a second
    time are captured as a CUDA graph, which is replayed until other shapes come: a graph relies on its context's state,
    which setting shapes changes, so one context keeps one graph.
    """

    def __init__(
        self,
        context: ExecutionContext,
        index: int,
        profile: Profile,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        device: Device,
        *,
        graphs: bool,
    ) -> None:
        self._context = context
        self._inputs = inputs
        self._outputs = outputs
        self._device = device
        self._graphs = graphs
        self._shapes: Shapes = {}
        self._replay: Callable[[], None] | None = None
        self._came_before = False
        self.state = object()
        """What a CUDA graph of a run relies on: another object once shapes have been set."""
        with device.ordered():
            _accept(context.set_optimization_profile_async(index, device.stream), f"profile {index}")
            self._set_shapes({spec.name: profile.shapes(spec)[2] for spec in inputs})
            self._memory = {spec.name: self._bind(spec) for spec in (*inputs, *outputs)}

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on arrays that the profile covers: outputs lie on the host where all inputs do, else on the device.

        Raises `EngineError` where the library refuses a call.
        """
        shapes = {spec.name: tuple(feeds[spec.name].shape) for spec in self._inputs}
        if shapes != self._shapes:
            self._set_shapes(shapes)
        host = not any(self._device.on_device(array) for array in feeds.values())
        with self._device.ordered():
            for spec in self._inputs:
                self._device.write(self._memory[spec.name], feeds[spec.name])
            self._run()
            return {
                spec.name: self._device.read(self._memory[spec.name], self._shape(spec), spec.dtype, host=host)
                for spec in self._outputs
            }

    def _set_shapes(self, shapes: Shapes) -> None:
        self._shapes, self._replay, self._came_before, self.state = {}, None, False, object()
        for name, shape in shapes.items():
            _accept(self._context.set_input_shape(name, shape), f"{name} of shape {list(shape)}")
        if unknown := self._context.infer_shapes():
            raise EngineError(f"TensorRT cannot tell the shapes of {', '.join(unknown)}; build the engine again")
        self._shapes = shapes

    def _bind(self, spec: TensorSpec) -> Any:
        memory = self._device.allocate(math.prod(self._shape(spec)) * np.dtype(spec.dtype).itemsize)
        _accept(self._context.set_tensor_address(spec.name, self._device.address(memory)), f"memory for {spec.name}")
        return memory

    def _shape(self, spec: TensorSpec) -> tuple[int, ...]:
        return tuple(self._context.get_tensor_shape(spec.name))

    def _run(self) -> None:
        if self._device.recording():
            self._enqueue()
        elif self._replay:
            self._replay()
        elif self._graphs and self._came_before:  # the first run with new shapes does work that cannot be captured
            self._replay = self._device.capture(self._enqueue)
            self._replay()
        else:
            self._enqueue()
            self._came_before = True

    def _enqueue(self) -> None:
        _accept(self._context.execute_async_v3(self._device.stream), "the run")


def _accept(accepted: bool, what: str) -> None:
    if not accepted:
        raise EngineError(f"TensorRT refused {what}")
