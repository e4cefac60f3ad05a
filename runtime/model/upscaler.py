"""Upscalers: a network enlarges a picture in overlapping tiles, whatever its size, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...bundles.graph import UPSCALER
from ...bundles.tensor import Array
from ...bundles.upscaler import UpscalerBundle
from ...engines.arrays import device_lock, namespace, to_device, to_host
from ...engines.base import Engine
from ...engines.registry import EngineOptions, open_engine
from ...engines.select import Candidate, fastest, usual_device
from ...errors import InputError
from .. import nonfinite
from ..imaging.tiles import Window, windows
from .shipped import MODELS, find_in, shipped

UPSCALERS = MODELS / "upscalers"
OVERLAP = 32

Report = Callable[[int, int], None]


class Upscaler:
    """Enlarges pictures `scale` times.

    Tiles are of at most `tile` x `tile` pixels and share at least `overlap` with their neighbours; the outer half of
    that is left out of the result, since a network sees nothing beyond its tile's edge. Where half the overlap is as
    far as the network looks, the result is that of the whole picture at once, to rounding.
    """

    def __init__(self, bundle: UpscalerBundle, engine: Engine, tile: int, overlap: int) -> None:
        self.bundle = bundle
        self.engine = engine
        multiple = bundle.model.multiple
        # The overlap's half is left out, so that it has to be a whole number of multiples.
        self._overlap = -(-overlap // (2 * multiple)) * 2 * multiple
        self._tile = max(tile // multiple * multiple, self._overlap + multiple)

    @property
    def scale(self) -> int:
        """How many pixels it makes of one along an edge."""
        return self.bundle.model.scale

    def __call__(self, pixels: Array, report: Report = lambda done, total: None) -> Array:
        """Enlarge a picture, uint8 [height, width, 3] in sRGB, to uint8 [height · scale, width · scale, 3].

        `report` is called with the tiles done and their number; what it raises ends the work. Raises `InputError` for
        an array of another kind, `ModelOutputError` for NaN or infinity, `EngineError`.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise InputError(
                f"an upscaler takes uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}; "
                "read the picture with overpaint.read"
            )
        height, width = pixels.shape[:2]
        multiple = self.bundle.model.multiple
        padded = _padded(pixels, multiple)
        high, wide = padded.shape[:2]
        made = np.empty((high * self.scale, wide * self.scale, 3), np.uint8)
        tiles = windows(high, wide, self._tile, self._overlap, multiple)
        self.engine.poll(idle=True)
        for done, window in enumerate(tiles, 1):
            kept = window.inside(high, wide, self._overlap // 2)
            self._place(window, kept, padded.transpose(2, 0, 1), made.transpose(2, 0, 1))
            report(done, len(tiles))
        return np.ascontiguousarray(made[: height * self.scale, : width * self.scale])

    def close(self) -> None:
        """Release the engine's memory."""
        self.engine.close()

    def _place(self, window: Window, kept: Window, pixels: Array, made: Array) -> None:
        """Enlarge a window of `pixels` [3, height, width] and write what shall be kept of it into `made`, likewise."""
        whole, wanted = window.scaled_up(self.scale), kept.scaled_up(self.scale)
        wanted.cut(made)[...] = wanted.within(whole).cut(self._enlarged(window.cut(pixels)))

    def _enlarged(self, tile: Array) -> Array:
        """A tile, uint8 [3, height, width], enlarged, on the host."""
        device = self.engine.device
        xp = namespace(device)
        with device_lock(device):
            feed = to_device(np.ascontiguousarray(tile[None]), device).astype(np.float32) / np.float32(255)
            upscaled = self.engine({"pixels": feed})["upscaled"][0]
            nonfinite.check("the upscaler", upscaled)
            return to_host(xp.rint(xp.clip(upscaled, 0, 1) * 255).astype(np.uint8))


def load_upscaler(
    path: str | Path,
    *,
    engine: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    shapes: str = "auto",
    threads: int = 0,
    tile: int = 0,
    overlap: int = OVERLAP,
    verify: bool = True,
) -> Upscaler:
    """Load an upscaler: a bundled one by its name, such as "compact", or what `overpaint export-upscaler` made.

    `tile` (0: the bundle's usual size) and `overlap` are in pixels of the input; the other options are those of
    `overpaint.load`. Raises `InputError` for a number that cannot be used and an unknown name or engine, `BundleError`
    for a folder that is no upscaler's or is altered, `EngineError` where the engine's library is missing.
    """
    for name, value in (("threads", threads), ("tile", tile), ("overlap", overlap)):
        if type(value) is not int or value < 0:
            raise InputError(f"{name} must be a whole number of at least 0, not {value!r}")
    bundle = UpscalerBundle.read(find_upscaler(path), verify=verify)
    tile = tile or bundle.model.default_size[0]
    name = bundle.name_of(UPSCALER)
    graph = bundle.graph(name)
    most = graph.ranges["height"].most
    if not overlap < tile <= most:
        raise InputError(f"tile must be more than the overlap, {overlap}, and at most {most} pixels, not {tile}")
    chosen = fastest(bundle, device) if engine == "auto" else Candidate(engine, device or usual_device(engine), None)
    options = EngineOptions(chosen.device, threads, precision, shapes)
    return Upscaler(bundle, open_engine(chosen.engine, name, graph, bundle.folder, options), tile, overlap)


def find_upscaler(upscaler: str | Path) -> Path:
    """The folder of an upscaler by its name among `bundled_upscalers()`, or by its path; raises `InputError` else."""
    return find_in(UPSCALERS, "upscaler", upscaler)


def bundled_upscalers() -> list[str]:
    """The names of the upscalers that ship with the package."""
    return shipped(UPSCALERS)


def _padded(pixels: Array, multiple: int) -> Array:
    """Pixels [height, width, 3] continued by their reflection to whole multiples."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % multiple), (0, -width % multiple), (0, 0)), "reflect")
