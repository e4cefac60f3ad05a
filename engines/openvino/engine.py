"""OpenVINO: the fastest way on CPUs, x86 and Arm, and the way to Intel's GPUs."""

from __future__ import annotations

import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np

from ...bundles.graph import Graph
from ...bundles.store import Store
from ...bundles.tensor import Array
from ...errors import EngineError, InputError, unknown
from ..base import ROW_BUCKETS, BaseEngine, check_feeds
from ..registry import EngineOptions
from .compiler import DYNAMIC, PRECISIONS, Compiled, Compiler, Shapes
from .library import VERSION, core, library, translated

logger = logging.getLogger(__name__)

# A graph of this size is not held twice, dynamic and static, where one will do.
LARGE = 64 * 2**20
# Static graphs kept for each component, and of a small one: one for every number of rows that calls are padded to. On a
# CPU each holds the weights in the layout of its kernels.
MOST_STATIC, MOST_SMALL = 2, len(ROW_BUCKETS)
TAKES_WEIGHTS = True
# A shape of so many calls is taken to come back, should there be no idle moment after which it does.
OFTEN = 100

# One at a time, and none is left half done when the interpreter ends.
_compiling = Lock()


class OpenVinoEngine(BaseEngine):
    """A graph on OpenVINO, compiled for all shapes or for one, so that a result does not depend on when it is made.

    `shapes` is "auto": a small graph serves all shapes, and one for a shape that comes back after an idle moment, or in
    its hundredth call, is compiled in the background; it takes over at a poll, if it gave what the other gave, bit for
    bit. A large graph, as two that are compiled share no weights, is compiled for each of the first `MOST_STATIC`
    shapes when they come, and for all once there are more; what serves a shape is kept until nothing is in flight.
    Where that for all would take too much memory, it is compiled for each shape, and those used last are kept.
    "static" and "tuned": each shape is compiled when it first comes; "dynamic": none. Of those for one shape the
    `MOST_STATIC` used last (`MOST_SMALL` of a small graph) are kept beyond an idle moment.
    """

    def __init__(self, compiler: Compiler, shapes: str) -> None:
        self.name = compiler.name
        self.inputs = compiler.graph.inputs
        self.outputs = compiler.graph.outputs
        self.precision = compiler.precision
        self._compiler: Compiler | None = compiler
        small = compiler.graph.size < LARGE
        self._small = small and shapes == "auto"
        self._most_kept = MOST_SMALL if small else MOST_STATIC
        # A row of padding costs a small graph less than another graph's compilation, and a large one a whole row.
        self.row_buckets = ROW_BUCKETS if small and shapes != "dynamic" else ()
        self._most_static = {"auto": MOST_STATIC, "dynamic": 0}.get(shapes, math.inf)
        self._lock = Lock()
        self._dynamic = compiler.compile(None) if self._small or shapes == "dynamic" else None
        self._static: OrderedDict[Shapes, Compiled] = OrderedDict()
        self._building: dict[Shapes, Future[Compiled | None]] = {}
        self._builder: ThreadPoolExecutor | None = None
        self._calls: Counter[Shapes] = Counter()
        self._earlier: set[Shapes] = set()
        self._unlike: set[Shapes] = set()
        self._now: dict[Shapes, Compiled] = {}
        self._idle = False
        self._failure = ""

    @property
    def label(self) -> str:
        """The library, the device, the precision, and what the graphs round as that served the last work.

        One for a single shape that rounds as the dynamic one is called that: when it takes over depends on time.
        """
        if self._compiler is None:
            return "closed"
        dynamic = {self._small or compiled is self._dynamic for compiled in self._now.values()}
        kinds = " and ".join(sorted(DYNAMIC if each else "static" for each in dynamic))
        parts = (f"openvino {VERSION.split('-')[0]}", self._compiler.device.lower(), self.precision, kinds)
        return ", ".join(part for part in (*parts, self._failure) if part)

    def poll(self, idle: bool = False) -> None:
        """Let static graphs that were built meanwhile take over; `idle`: choose anew which graph serves a shape."""
        with self._lock:
            for shapes in [shapes for shapes, future in self._building.items() if future.done()]:
                self._take(shapes, self._building.pop(shapes))
            if idle:
                self._earlier |= self._calls.keys()
                self._calls.clear()
                self._idle = True

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays by input name; raises `EngineError`."""
        if self._compiler is None:
            raise EngineError(f"{self.name}: the engine is closed; load the pipeline again")
        check_feeds(self.name, self.inputs, feeds)
        with self._lock, translated(self.name, "failed while running"):
            if self._idle:
                self._now.clear()
                self._idle = False
            shapes = tuple(feeds[spec.name].shape for spec in self.inputs)
            self._calls[shapes] += 1
            self._now[shapes] = self._choose(self._compiler, shapes)
            outputs = self._infer(self._now[shapes], feeds)
            if self._small and self._worth_building(shapes):
                self._specialise(self._compiler, shapes, feeds, outputs)
            return outputs

    def close(self) -> None:
        """Release the compiled graphs; one that is being built is waited for."""
        with self._lock:
            if self._builder is not None:
                self._builder.shutdown(cancel_futures=True)
                self._builder = None
            self._compiler = self._dynamic = None
            for held in (self._static, self._building, self._now):
                held.clear()

    def _choose(self, compiler: Compiler, shapes: Shapes) -> Compiled:
        """The graph that serves these shapes: of a small one any that rounds alike, else what served them before."""
        if self._small:
            assert self._dynamic is not None
            return self._held(shapes) or self._dynamic
        if self._most_static and compiler.only_static(shapes):
            return self._held(shapes) or self._keep(shapes, compiler.compile(shapes))
        if shapes in self._now:
            return self._now[shapes]
        if compiler.only_dynamic(shapes):
            return self._for_all(compiler)
        if sum(compiled is not self._dynamic for compiled in self._now.values()) < self._most_static:
            return self._held(shapes) or self._keep(shapes, compiler.compile(shapes))
        return self._for_all(compiler)

    def _for_all(self, compiler: Compiler) -> Compiled:
        if self._dynamic is None:
            self._dynamic = compiler.compile(None)
        return self._dynamic

    def _held(self, shapes: Shapes) -> Compiled | None:
        if shapes in self._static:
            self._static.move_to_end(shapes)
        return self._static.get(shapes)

    def _worth_building(self, shapes: Shapes) -> bool:
        assert self._compiler is not None
        known = shapes in self._static or shapes in self._building or shapes in self._unlike
        known = known or self._compiler.only_dynamic(shapes)
        comes_back = shapes in self._earlier or self._calls[shapes] >= OFTEN
        # One in use is not dropped for another, else many shapes would be compiled by turns without end.
        in_use = self._building.keys() | (self._static.keys() & self._calls.keys())
        return comes_back and not known and len(in_use) < self._most_kept and not self._failure

    def _specialise(
        self, compiler: Compiler, shapes: Shapes, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        """Compile for one shape in the background, and see whether it gives the same outputs for the same feeds."""
        inputs, wanted = ({name: array.copy() for name, array in arrays.items()} for arrays in (feeds, outputs))

        def build() -> Compiled | None:
            with _compiling:
                compiled = replace(compiler, plain=True).compile(shapes)
            results = self._infer(compiled, inputs)
            return compiled if all(results[name].tobytes() == wanted[name].tobytes() for name in wanted) else None

        if self._builder is None:
            self._builder = ThreadPoolExecutor(1, "overpaint-openvino")
        self._building[shapes] = self._builder.submit(build)

    def _take(self, shapes: Shapes, built: Future[Compiled | None]) -> None:
        if error := built.exception():  # the dynamic graph goes on; the label, and so every Result, says why
            self._failure = f"no static graph ({error})"
        elif compiled := built.result():
            logger.debug("%s: a static graph takes over for the shapes %s", self.name, shapes)
            self._keep(shapes, compiled)
        else:
            self._unlike.add(shapes)

    def _keep(self, shapes: Shapes, compiled: Compiled) -> Compiled:
        self._static[shapes] = compiled
        while len(self._static) > self._most_kept:
            dropped, _ = self._static.popitem(last=False)
            if not self._small and self._compiler is not None and self._compiler.only_static(dropped):
                self._now.pop(dropped, None)  # compiled again it rounds the same
        return compiled

    def _infer(self, compiled: Compiled, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Infer on the feeds where they lie; a static graph writes its outputs straight into the arrays given back."""
        feeds = {name: np.asarray(array, order="C") for name, array in feeds.items()}
        request = compiled.request
        if compiled is self._dynamic:
            results = request.infer(feeds, share_inputs=True, share_outputs=False)
            return {spec.name: results[spec.name] for spec in self.outputs}
        outputs = {}
        for port in request.model_outputs:
            array = outputs[port.any_name] = np.empty(tuple(port.shape), port.element_type.to_dtype())
            request.set_tensor(port, library.Tensor(array, shared_memory=True))
        request.infer(feeds, share_inputs=True, share_outputs=True)
        return outputs


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> OpenVinoEngine:
    """Open a graph on OpenVINO's device of that name ("cpu", "gpu").

    Raises `InputError` for a device or a precision that is not there.
    """
    device = options.device.upper()
    devices = {full.split(".")[0] for full in core().available_devices}
    if device not in devices:
        raise unknown("OpenVINO device", options.device, (known.lower() for known in devices))
    capable = set(core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
    precision = options.precision or _native(device, capable)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if PRECISIONS[precision][1] not in capable and precision != "float32":
        able = ", ".join(known for known, (_, needed) in PRECISIONS.items() if needed in capable)
        raise InputError(f"this {device} does not compute in {precision}; choose {able}")
    path = folder / graph.file.path
    store = Store.of(folder)
    compiler = Compiler(name, graph, path, device, precision, options.threads, store, weights=options.weights)
    return OpenVinoEngine(compiler, options.shapes)


def _native(device: str, capable: set[str]) -> str:
    """The fastest precision of a device that keeps float32's range, or on a GPU float16."""
    if device == "GPU" and "FP16" in capable:
        return "float16"
    return "bfloat16" if "BF16" in capable else "float32"
