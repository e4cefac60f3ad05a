"""A graph compiled by OpenVINO for one set of shapes or for all, and kept in the store of built engines."""

from __future__ import annotations

import logging
import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...bundles.graph import CONTROLNET, DENOISER, DENOISER_LORA, DENOISER_SHALLOW, Graph
from ...bundles.store import Key, Store
from ...bundles.tensor import Array
from ...errors import EngineError, OutputError
from ..base import check_signature
from ..memory import unloading
from .heads import HEADS, fill_heads
from .library import VERSION, core, library, translated

logger = logging.getLogger(__name__)

# OpenVINO's names of the precisions, and the capability a device needs for them.
PRECISIONS = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16"), "float16": ("f16", "FP16")}
DYNAMIC = "dynamic"
# A built engine holds the graph's weights again: larger ones are compiled anew rather than kept on disk, and of the
# smaller ones those used last are kept.
KEPT_BELOW = 512 * 2**20
MOST_KEPT = 6

# A graph for all shapes keeps the kernels of those that came last. With OpenVINO's own 5000 tiny grows by 4 MB a size.
KERNELS_CACHED = 100

# OpenVINO 2026.4's compiled subgraphs ("snippets") do attention over 1 to 4 tokens wrongly, up to NaN; doing without
# them costs a static graph 4 to 13 % and a dynamic one nothing.
FEW = 9

# OpenVINO's name of the attribute that is on what widens a constant in its own files.
WIDENED = "decompression_0"

# OpenVINO 2026.4's graph for all shapes holds every product of an attention at once, several times over, its graphs for
# one shape do not: the U-Net of Stable Diffusion 1 at 768 x 768 takes 13.5 GB with the one and 3.9 GB with the other.
# So many products a head, of two rows at 512 x 512, may be left to the one for all shapes.
MOST_PRODUCTS = 2 * (64 * 64) ** 2

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
    weights: Callable[[], Mapping[str, Array]] | None = None

    def compile(self, shapes: Shapes | None) -> Compiled:
        """Compile the graph, or load it from the store of built engines, where small ones are put."""
        if self.graph.size < KEPT_BELOW and self.weights is None:
            try:
                return self._kept(self.key(shapes), shapes)
            except OutputError as exc:
                logger.warning("compiled anew each time: %s", exc)
        with unloading([self.path.parent / file.path for file in self.graph.data]):
            return Compiled(self._compile(shapes))

    def _kept(self, key: Key, shapes: Shapes | None) -> Compiled:
        """The graph out of the store; a damaged one is dropped: nobody built it on purpose, and it can be made anew."""
        try:
            if stored := self.store.find(key):
                return self._load(stored, shapes)
        except EngineError as exc:
            logger.warning("%s: its compiled graph was damaged and is made anew (%s)", self.name, exc)
            self.store.remove(key)
            if self.store.holds(key):
                raise OutputError("it cannot be removed") from exc
        stored = self.store.build(key, lambda path: _write(self._compile(shapes), path))
        self.store.prune(key, MOST_KEPT)
        return self._load(stored, shapes)

    def _load(self, stored: Path, shapes: Shapes | None) -> Compiled:
        with unloading([stored]), translated(self.name, "cannot load the built engine"):
            blob = _mapped(stored)
            tensor = library.Tensor(blob, shared_memory=True)
            return Compiled(core().import_model(tensor, self.device, self._settings(shapes)), blob)

    def read(self, shapes: Shapes | None) -> Any:
        """The graph as OpenVINO's model; raises `BundleError` where its signature is not the manifest's."""
        model = core().read_model(self.path)
        for side, specs, ports in (
            ("inputs", self.graph.inputs, model.inputs),
            ("outputs", self.graph.outputs, model.outputs),
        ):
            check_signature(self.path, side, specs, [_described(port) for port in ports])
        if shapes is not None:
            model.reshape({spec.name: list(shape) for spec, shape in zip(self.graph.inputs, shapes, strict=True)})
        return model

    def _compile(self, shapes: Shapes | None) -> Any:
        with translated(self.name, "cannot compile the graph"):
            model, settings = self.read(shapes), self._settings(shapes)
            if self.weights is not None:
                replace_weights(self.name, model, self.weights())
            if not self.plain:
                fill_heads(model, self.device, settings["INFERENCE_PRECISION_HINT"])
            keep_halves(model)
            return core().compile_model(model, self.device, settings)

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

    def only_dynamic(self, shapes: Shapes) -> bool:
        """Whether only the graph for all shapes can serve these: of one that takes adapters OpenVINO 2026.4 compiles no
        other for so few tokens without snippets."""
        return bool(self.graph.adapters) and self._few(shapes)

    def only_static(self, shapes: Shapes) -> bool:
        """Whether the graph of a U-Net for all shapes would take too much memory over so many positions."""
        if self.graph.role not in (DENOISER, DENOISER_LORA, DENOISER_SHALLOW, CONTROLNET):
            return False
        axes = zip(self.graph.inputs[0].axes, shapes[0], strict=True)
        lengths = {axis: length for axis, length in axes if isinstance(axis, str)}
        rows = lengths.pop("rows", 1)
        return rows * math.prod(lengths.values()) ** 2 > MOST_PRODUCTS

    def _few(self, shapes: Shapes) -> bool:
        """Whether attention may see fewer than `FEW` tokens of a picture: the graph's least sides leave it one."""
        lengths = {
            axis: length
            for spec, shape in zip(self.graph.inputs, shapes, strict=True)
            if spec.name not in self.graph.optional
            for axis, length in zip(spec.axes, shape, strict=True)
            if isinstance(axis, str) and axis not in ("rows", "tokens")
        }
        tokens = math.prod(length // self.graph.ranges[axis].least for axis, length in lengths.items())
        return bool(lengths) and tokens < FEW

    def key(self, shapes: Shapes | None) -> Key:
        """What the compiled graph is kept under."""
        lengths = zip(self.graph.inputs, shapes or (), strict=False)
        profile = "; ".join(f"{spec.name} {'x'.join(map(str, shape))}" for spec, shape in lengths) or DYNAMIC
        capabilities = " ".join(sorted(core().get_property(self.device, "OPTIMIZATION_CAPABILITIES")))
        processor = f"{core().get_property(self.device, 'FULL_DEVICE_NAME')} ({capabilities})"
        settings = ", ".join(f"{name} {value}" for name, value in self._settings(shapes).items())
        version = f"{VERSION}, heads {0 if self.plain else HEADS}, halves kept, {settings}"
        return Key(self.name, self.graph.sha256, profile, self.precision, "openvino", version, processor)


def replace_weights(name: str, model: Any, arrays: Mapping[str, Array]) -> None:
    """Put constants of a model in place of its own by their names; raises `EngineError` for one that it has not."""
    own = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() == "Constant"}
    if unknown := arrays.keys() - own.keys():
        raise EngineError(f"{name}: has no weights {', '.join(sorted(unknown))}; export the bundle again")
    for key, array in arrays.items():
        own[key].output(0).replace(library.op.Constant(array, shared_memory=True).output(0))


def keep_halves(model: Any) -> None:
    """Have OpenVINO keep constants in half precision until each is laid out for its kernel, as it does with those of
    its own files, by a mark on what widens them; else all of them are in memory once more, widened."""
    for node in model.get_ops():
        if node.get_type_name() != "Convert" or node.get_input_element_type(0) != library.Type.f16:
            continue
        if node.input_value(0).get_node().get_type_name() == "Constant":
            node.get_rt_info()[WIDENED] = True


def _described(port: Any) -> tuple[str, str, list[int | str]]:
    shape = [str(axis) if axis.is_dynamic else axis.get_length() for axis in port.partial_shape]
    return port.any_name, np.dtype(port.element_type.to_dtype()).name, shape


def _write(compiled: Any, path: Path) -> None:
    path.write_bytes(compiled.export_model().getbuffer())


def _mapped(path: Path) -> Array:
    """The bytes of a file, mapped rather than read."""
    with path.open("rb") as stream:  # OpenVINO takes no read-only array
        return np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)
