"""OpenVINO: the fastest way on CPUs, x86 and Arm, and the way to Intel's GPUs."""

from __future__ import annotations

import math
import mmap
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bundles.store import Key, Store
from ...bundles.tensor import Array
from ...errors import EngineError, InputError, NoEngineError, OutputError, unknown
from ..base import check_feeds, check_signature
from ..memory import unloading

if TYPE_CHECKING:
    from ...bundles.graph import Graph
    from ..registry import EngineOptions

try:
    import openvino
    from openvino import opset13
except ImportError as exc:
    raise NoEngineError("openvino is not installed; run: pip install 'overpaint[cpu]'") from exc

# OpenVINO's names of the precisions, and the capability a device needs for them.
PRECISIONS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
DYNAMIC = "dynamic"
# Static graphs kept for each component; on a CPU each holds the weights in the layout of its kernels.
MOST_STATIC = 2
# A graph of this size is not held twice, dynamic and static, where one will do.
LARGE = 64 * 2**20
# A built engine holds the graph's weights again: larger ones are compiled anew rather than kept on disk, and of the
# smaller ones those used last are kept.
KEPT_BELOW = 512 * 2**20
MOST_KEPT = 6

# A graph for all shapes keeps the kernels of those that came last. With OpenVINO's own 5000 tiny grows by 4 MB a size.
KERNELS_CACHED = 100

# OpenVINO 2026.4's compiled subgraphs ("snippets") do attention over 1 to 4 tokens wrongly, up to NaN; doing without
# them costs a static graph 4 to 13 % and a dynamic one nothing.
FEW = 9

# Intel's AMX multiplies tiles of 32 elements of 16 bits. Heads of 40, as Stable Diffusion 1 has them, leave OpenVINO
# 2026.4 a rest of 8 that takes it longer than a second tile would. Zeros at the end of queries and keys change no
# product of the two; with fewer keys than these filling up takes as long as it saves.
TILE = 32
LEAST_KEYS = 1024
# Part of the key of what is kept: another way to fill up heads has to raise it.
HEADS = 1

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Compiled:
    """A compiled model, and the bytes it was loaded from, which it may go on using."""

    model: Any
    blob: Array | None = None

    @cached_property
    def request(self) -> Any:
        """What runs it; its tensors stay allocated."""
        return self.model.create_infer_request()


# One at a time, and none is left half done when the interpreter ends.
_builder = ThreadPoolExecutor(1, "overpaint-openvino")


@dataclass(frozen=True)
class Compiler:
    """A graph on its way from the bundle to a device: compiled for one set of shapes, or for all (None).

    A `plain` one for one set rounds as the one for all does, at the cost of what OpenVINO does faster where it knows
    the shapes.
    """

    name: str
    graph: Graph
    path: Path
    device: str
    precision: str
    threads: int
    store: Store
    plain: bool = False

    def compile(self, shapes: Shapes | None) -> Compiled:
        """Compile the graph, or load it from the store of built engines, where small ones are put."""
        if self.graph.size < KEPT_BELOW:
            try:
                return self._kept(self.key(shapes), shapes)
            except OutputError as exc:
                warnings.warn(f"compiled anew each time: {exc}", stacklevel=2)
        with unloading([self.path.parent / file.path for file in self.graph.data]):
            return Compiled(self._compile(shapes))

    def _kept(self, key: Key, shapes: Shapes | None) -> Compiled:
        """The graph out of the store; a damaged one is dropped: nobody built it on purpose, and it can be made anew."""
        try:
            if stored := self.store.find(key):
                return self._load(stored, shapes)
        except EngineError as exc:
            warnings.warn(f"{self.name}: its compiled graph was damaged and is made anew ({exc})", stacklevel=2)
            self.store.remove(key)
            if self.store.holds(key):
                raise OutputError("it cannot be removed") from exc
        stored = self.store.build(key, lambda path: _write(self._compile(shapes), path))
        self.store.prune(key, MOST_KEPT)
        return self._load(stored, shapes)

    def _load(self, stored: Path, shapes: Shapes | None) -> Compiled:
        with unloading([stored]), translated(self.name, "cannot load the built engine"):
            blob = _mapped(stored)
            tensor = openvino.Tensor(blob, shared_memory=True)
            return Compiled(_core().import_model(tensor, self.device, self._settings(shapes)), blob)

    def read(self, shapes: Shapes | None) -> Any:
        """The graph as OpenVINO's model; raises `BundleError` where its signature is not the manifest's."""
        model = _core().read_model(self.path)
        for side, specs, found in (
            ("inputs", self.graph.inputs, model.inputs),
            ("outputs", self.graph.outputs, model.outputs),
        ):
            check_signature(self.path, side, specs, [_described(port) for port in found])
        if shapes is not None:
            model.reshape({spec.name: list(shape) for spec, shape in zip(self.graph.inputs, shapes, strict=True)})
        return model

    def _compile(self, shapes: Shapes | None) -> Any:
        with translated(self.name, "cannot compile the graph"):
            model, settings = self.read(shapes), self._settings(shapes)
            if not self.plain:
                fill_heads(model, self.device, settings["INFERENCE_PRECISION_HINT"])
            return _core().compile_model(model, self.device, settings)

    def _settings(self, shapes: Shapes | None) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[self.precision][0],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if shapes is None or self.plain or self._few(shapes):
            settings["SNIPPETS_MODE"] = "DISABLE"
        if shapes is None and self.device == "CPU":
            settings["CPU_RUNTIME_CACHE_CAPACITY"] = KERNELS_CACHED
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        return settings

    def _few(self, shapes: Shapes) -> bool:
        """Whether attention may see fewer than `FEW` tokens of a picture: the graph's least sides leave it one."""
        lengths = {
            axis: length
            for spec, shape in zip(self.graph.inputs, shapes, strict=True)
            for axis, length in zip(spec.axes, shape, strict=True)
            if isinstance(axis, str) and axis not in ("rows", "tokens")
        }
        tokens = math.prod(length // self.graph.ranges[axis].least for axis, length in lengths.items())
        return bool(lengths) and tokens < FEW

    def key(self, shapes: Shapes | None) -> Key:
        """What the compiled graph is kept under."""
        lengths = zip(self.graph.inputs, shapes or (), strict=False)
        profile = "; ".join(f"{spec.name} {'x'.join(map(str, shape))}" for spec, shape in lengths) or DYNAMIC
        capabilities = " ".join(sorted(_core().get_property(self.device, "OPTIMIZATION_CAPABILITIES")))
        processor = f"{_core().get_property(self.device, 'FULL_DEVICE_NAME')} ({capabilities})"
        settings = ", ".join(f"{name} {value}" for name, value in self._settings(shapes).items())
        version = f"{openvino.__version__}, heads {0 if self.plain else HEADS}, {settings}"
        return Key(self.name, self.graph.sha256, profile, self.precision, "openvino", version, processor)


class OpenVinoEngine:
    """A graph on OpenVINO, compiled for all shapes or for one, so that a result does not depend on when it is made.

    `shapes` is "auto": a small graph serves all shapes, and one for a shape that comes back in a later run is compiled
    in the background; it takes over when a run begins, if it gave what the other gave, bit for bit. A large graph, as
    two that are compiled share no weights, is compiled for each of a run's first `MOST_STATIC` shapes when they come,
    and for all once there are more. "static" and "tuned": each shape is compiled when it first comes; "dynamic": none.
    Of those for one shape the `MOST_STATIC` used last are kept.
    """

    device = "cpu"
    profiles = ()
    capture_state = None

    def __init__(self, compiler: Compiler, shapes: str) -> None:
        self.name = compiler.name
        self.inputs = compiler.graph.inputs
        self.outputs = compiler.graph.outputs
        self._compiler: Compiler | None = compiler
        self._small = shapes == "auto" and compiler.graph.size < LARGE
        self._most_static = {"auto": MOST_STATIC, "dynamic": 0}.get(shapes, math.inf)
        self._lock = Lock()
        self._dynamic = compiler.compile(None) if self._small or shapes == "dynamic" else None
        self._static: OrderedDict[Shapes, Compiled] = OrderedDict()
        self._building: dict[Shapes, Future[Compiled | None]] = {}
        self._earlier: set[Shapes] = set()
        self._unlike: set[Shapes] = set()
        self._now: dict[Shapes, Compiled] = {}
        self._runs = 0
        self._failure = ""

    @property
    def label(self) -> str:
        """The library, the device, the precision, and what the run's graphs round as since it began.

        One for a single shape that rounds as the dynamic one is called that: when it takes over depends on time.
        """
        if self._compiler is None:
            return "closed"
        dynamic = {self._small or compiled is self._dynamic for compiled in self._now.values()}
        kinds = " and ".join(sorted(DYNAMIC if each else "static" for each in dynamic))
        of = self._compiler
        library = f"openvino {openvino.__version__.split('-')[0]}"
        parts = (library, of.device.lower(), of.precision, kinds, self._failure)
        return ", ".join(part for part in parts if part)

    def begin_run(self) -> None:
        """Let static graphs that were built meanwhile take over, and build those for shapes of earlier runs."""
        with self._lock:
            self._runs += 1
            if self._runs > 1:
                return
            self._earlier |= self._now.keys()
            self._now.clear()
            for shapes in [shapes for shapes, future in self._building.items() if future.done()]:
                self._take(shapes, self._building.pop(shapes))

    def end_run(self) -> None:
        """Graphs may change again when no other run goes on."""
        with self._lock:
            self._runs -= 1

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once on arrays by input name; raises `EngineError`."""
        if self._compiler is None:
            raise EngineError(f"{self.name}: the engine is closed; load the pipeline again")
        check_feeds(self.name, self.inputs, feeds)
        with self._lock, translated(self.name, "failed while running"):
            shapes = tuple(feeds[spec.name].shape for spec in self.inputs)
            if shapes not in self._now:
                self._now[shapes] = self._choose(self._compiler, shapes)
            outputs = self._infer(self._now[shapes], feeds)
            if self._small and self._worth_building(shapes):
                self._specialise(self._compiler, shapes, feeds, outputs)
            return outputs

    def close(self) -> None:
        """Release the compiled graphs; one that is being built is waited for."""
        with self._lock:
            for future in self._building.values():
                if not future.cancel():
                    future.exception()
            self._compiler = self._dynamic = None
            for held in (self._static, self._building, self._now):
                held.clear()

    def _choose(self, compiler: Compiler, shapes: Shapes) -> Compiled:
        """The graph that serves these shapes in this run."""
        if self._small:
            assert self._dynamic is not None
            return self._held(shapes) or self._dynamic
        if sum(compiled is not self._dynamic for compiled in self._now.values()) < self._most_static:
            return self._held(shapes) or self._keep(shapes, compiler.compile(shapes))
        if self._dynamic is None:
            self._dynamic = compiler.compile(None)
        return self._dynamic

    def _held(self, shapes: Shapes) -> Compiled | None:
        if shapes in self._static:
            self._static.move_to_end(shapes)
        return self._static.get(shapes)

    def _worth_building(self, shapes: Shapes) -> bool:
        known = shapes in self._static or shapes in self._building or shapes in self._unlike
        return shapes in self._earlier and not known and not self._failure

    def _specialise(
        self, compiler: Compiler, shapes: Shapes, feeds: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        """Compile for one shape in the background, and see whether it gives the same outputs for the same feeds."""
        fed, wanted = ({name: array.copy() for name, array in arrays.items()} for arrays in (feeds, outputs))

        def build() -> Compiled | None:
            compiled = replace(compiler, plain=True).compile(shapes)
            made = self._infer(compiled, fed)
            return compiled if all(made[name].tobytes() == wanted[name].tobytes() for name in wanted) else None

        self._building[shapes] = _builder.submit(build)

    def _take(self, shapes: Shapes, built: Future[Compiled | None]) -> None:
        if error := built.exception():  # the dynamic graph goes on; the label, and so every Result, says why
            self._failure = f"no static graph ({error})"
        elif compiled := built.result():
            self._keep(shapes, compiled)
        else:
            self._unlike.add(shapes)

    def _keep(self, shapes: Shapes, compiled: Compiled) -> Compiled:
        self._static[shapes] = compiled
        while len(self._static) > MOST_STATIC:
            self._static.popitem(last=False)
        return compiled

    def _infer(self, compiled: Compiled, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Infer on the feeds where they lie; a static graph writes its outputs straight into the arrays given back."""
        feeds = {name: np.asarray(array, order="C") for name, array in feeds.items()}
        request = compiled.request
        if compiled is self._dynamic:
            found = request.infer(feeds, share_inputs=True, share_outputs=False)
            return {spec.name: found[spec.name] for spec in self.outputs}
        made = {}
        for port in request.model_outputs:
            array = made[port.any_name] = np.empty(tuple(port.shape), port.element_type.to_dtype())
            request.set_tensor(port, openvino.Tensor(array, shared_memory=True))
        request.infer(feeds, share_inputs=True, share_outputs=True)
        return made


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> OpenVinoEngine:
    """Open a graph on OpenVINO's device of that name ("cpu", "gpu").

    Raises `InputError` for a device or a precision that is not there.
    """
    device = options.device.upper()
    devices = {found.split(".")[0] for found in _core().available_devices}
    if device not in devices:
        raise unknown("OpenVINO device", options.device, (found.lower() for found in devices))
    capable = set(_core().get_property(device, "OPTIMIZATION_CAPABILITIES"))
    precision = options.precision or _native(device, capable)
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if PRECISIONS[precision][1] not in capable and precision != "float32":
        able = ", ".join(known for known, (_, needed) in PRECISIONS.items() if needed in capable)
        raise InputError(f"this {device} does not compute in {precision}; choose {able}")
    path = folder / graph.file.path
    compiler = Compiler(name, graph, path, device, precision, options.threads, Store.of(folder))
    return OpenVinoEngine(compiler, options.shapes)


def _native(device: str, capable: set[str]) -> str:
    """The fastest precision of a device that keeps float32's range, or on a GPU float16."""
    if device == "GPU" and "FP16" in capable:
        return "float16"
    return "bfloat16" if "BF16" in capable else "float32"


def fill_heads(model: Any, device: str, precision: str) -> None:
    """Fill up heads of known lengths where that is faster; `precision` is OpenVINO's name of it."""
    found = [node for node in model.get_ops() if node.get_type_name() == "ScaledDotProductAttention" and _gains(node)]
    if found and _has_tiles(device, precision):
        for node in found:
            _fill(node)


@cache
def _has_tiles(device: str, precision: str) -> bool:
    """Whether OpenVINO multiplies matrices in tiles there: it is asked which kernel it takes for two of them."""
    left, right = (opset13.parameter([2 * TILE, 2 * TILE], np.float32) for _ in range(2))
    product = openvino.Model([opset13.matmul(left, right, False, False)], [left, right])
    compiled = _core().compile_model(product, device, {"INFERENCE_PRECISION_HINT": precision})
    kernels = (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
    return any("amx" in info["primitiveType"].astype(str) for info in kernels if "primitiveType" in info)


def _gains(attention: Any) -> bool:
    queries, keys = attention.input_values()[:2]
    if not (queries.get_partial_shape().is_static and keys.get_partial_shape().is_static):
        return False
    # Queries in int8 come out of a multiplication by their scale; there filling up changes no time.
    quantized = queries.get_node().get_type_name() == "Multiply"
    width, count = queries.get_shape()[-1], keys.get_shape()[-2]
    return not quantized and width > TILE and width % TILE > 0 and count >= LEAST_KEYS


def _fill(attention: Any) -> None:
    queries, keys, values, *given = attention.input_values()
    # Left out, the scale would follow from the new width.
    usual = (0, queries.get_shape()[-1] ** -0.5)
    mask, scale = given + [opset13.constant(value, queries.get_element_type()) for value in usual[len(given) :]]
    filled = opset13.scaled_dot_product_attention(
        _filled(queries), _filled(keys), values, mask, scale, causal=attention.get_attributes()["causal"]
    )
    filled.set_friendly_name(attention.get_friendly_name())
    attention.output(0).replace(filled.output(0))


def _filled(heads: Any) -> Any:
    shape = heads.get_shape()
    after = [0] * (len(shape) - 1) + [-shape[-1] % TILE]
    return opset13.pad(heads, [0] * len(shape), after, "constant", opset13.constant(0, heads.get_element_type()))


@contextmanager
def translated(name: str, what: str) -> Iterator[None]:
    """Raise OpenVINO's errors as `EngineError`, saying which graph and what was being done."""
    try:
        yield
    except MemoryError as exc:
        raise EngineError(f"{name}: the memory does not suffice; take a smaller size") from exc
    except RuntimeError as exc:
        reason = " ".join(str(exc).split())
        raise EngineError(f"{name}: {what}: {reason}") from exc


_cores: list[Any] = []


def _core() -> Any:
    """OpenVINO's core, one for the process: it holds the devices."""
    if not _cores:
        _cores.append(openvino.Core())
    return _cores[0]


def _described(port: Any) -> tuple[str, str, list[int | str]]:
    shape = [str(axis) if axis.is_dynamic else axis.get_length() for axis in port.partial_shape]
    return port.any_name, np.dtype(port.element_type.to_dtype()).name, shape


def _write(compiled: Any, path: Path) -> None:
    path.write_bytes(compiled.export_model().getbuffer())


def _mapped(path: Path) -> Array:
    """The bytes of a file, mapped rather than read."""
    with path.open("rb") as stream:  # OpenVINO takes no read-only array
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
