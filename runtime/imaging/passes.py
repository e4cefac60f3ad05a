"""The passes of tiled upscaling as data: tiles of a grid in some order, and passes that mend the seams between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...engines.base import Array, InputError, unknown
from .codec import MAX_ASPECT
from .mask import blur as blurred
from .mask import blur_reach
from .tiles import Window

ORDERS = ("linear", "chess")
_CELL = 8


@dataclass(frozen=True)
class Tiling:
    """How an area of `height` x `width` pixels is cut: into tiles of `tile`, from the top left, the last ones smaller.

    The model sees `padding` pixels around what it replaces; masks are blurred by a Gaussian of sigma `blur` px; sides
    of what it sees are multiples of `multiple` where the area is that large. `corners` is the gradient around corners
    of four tiles: "radial" ends at its tile's sides, "to_corners" at its corners, as in "Ultimate SD Upscale".
    """

    height: int
    width: int
    tile: int = 512
    padding: int = 32
    blur: float = 8
    multiple: int = 8
    corners: str = "radial"

    def __post_init__(self) -> None:
        """Raise `InputError` for lengths that cut nothing."""
        if min(self.height, self.width, self.tile, self.multiple) < 1 or min(self.padding, self.blur) < 0:
            raise InputError(f"areas, tiles and multiples are 1 or more, padding and blur 0 or more: not {self}")

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.tile)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return -(-self.width // self.tile)

    @property
    def borders(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The first rows, and the first columns, of all tiles but those at the edges: where seams would be."""
        rows, columns = (tuple(range(self.tile, length, self.tile)) for length in (self.height, self.width))
        return rows, columns


@dataclass(frozen=True, eq=False)
class TilePass:
    """One run of the model: the `window` that it sees, and how much of that is replaced by what it makes of it, as the
    mask `weights`, uint8 [window.height, window.width], read-only, which `compose.paste` takes; it `fades` where that
    falls from the middle to the sides: then the model may change all that it sees, so that the sides fit, too."""

    window: Window
    weights: Array
    fades: bool = False


def redraw(tiling: Tiling, order: str = "linear") -> list[TilePass]:
    """A pass a tile, as "Ultimate SD Upscale" redraws: "linear" by rows, or "chess", one colour of the board first.

    Tiles are disjoint and cover the area; what blur takes from one it gives to its neighbours. Tiles of one colour
    share no border. Raises `InputError` for an unknown order.
    """
    if order not in ORDERS:
        raise unknown("tile order", order, ORDERS)
    cells = [(row, column) for row in range(tiling.rows) for column in range(tiling.columns)]
    if order == "chess":
        cells.sort(key=lambda cell: sum(cell) % 2)
    tile = tiling.tile
    return [_pass(tiling, Window(row * tile, column * tile, tile, tile), "flat", tiling.blur) for row, column in cells]


def bands(
    tiling: Tiling, width: int = 64, borders: tuple[Sequence[int], Sequence[int]] | None = None
) -> list[TilePass]:
    """A pass a border, over all its length: a band of `width` px, whose weight falls from the border to both sides.

    Columns come first, then rows, without blur, as in "Ultimate SD Upscale". `borders` are other rows and columns than
    the tiling's.
    """
    rows, columns = borders or tiling.borders
    upright = [Window(0, column - width // 2, tiling.height, width) for column in columns]
    level = [Window(row - width // 2, 0, width, tiling.width) for row in rows]
    return [_pass(tiling, window, "columns", 0) for window in upright] + [
        _pass(tiling, window, "rows", 0) for window in level
    ]


def half_tile(tiling: Tiling) -> list[TilePass]:
    """A pass a border of two tiles: a tile that lies half on each, whose weight falls from the border to both sides."""
    tile, half = tiling.tile, tiling.tile // 2
    level = [
        Window(row * tile + half, column * tile, tile, tile)
        for row in range(tiling.rows - 1)
        for column in range(tiling.columns)
    ]
    upright = [
        Window(row * tile, column * tile + half, tile, tile)
        for row in range(tiling.rows)
        for column in range(tiling.columns - 1)
    ]
    return [_pass(tiling, window, "rows", tiling.blur) for window in level] + [
        _pass(tiling, window, "columns", tiling.blur) for window in upright
    ]


def half_tile_intersections(tiling: Tiling) -> list[TilePass]:
    """`half_tile`, and then a pass a corner of four tiles: a tile around it, whose weight falls to all sides."""
    tile, half = tiling.tile, tiling.tile // 2
    corners = [
        Window(row * tile + half, column * tile + half, tile, tile)
        for row in range(tiling.rows - 1)
        for column in range(tiling.columns - 1)
    ]
    return half_tile(tiling) + [_pass(tiling, window, tiling.corners, tiling.blur) for window in corners]


def waves(passes: Sequence[TilePass]) -> list[list[TilePass]]:
    """The passes in groups of such as see nothing of each other, which may run at once.

    A pass comes after all those before it that it touches, so that running group by group gives what running one by
    one in their order does.
    """
    height = max((item.window.top + item.window.height for item in passes), default=0)
    width = max((item.window.left + item.window.width for item in passes), default=0)
    # How many waves have touched each cell; windows that share but a cell count as touching.
    touched = np.zeros((height // _CELL + 1, width // _CELL + 1), np.int64)
    groups: list[list[TilePass]] = []
    for item in passes:
        rows, columns = (slice(side.start // _CELL, -(-side.stop // _CELL)) for side in item.window.slices)
        wave = int(touched[rows, columns].max())
        touched[rows, columns] = wave + 1
        if wave == len(groups):
            groups.append([])
        groups[wave].append(item)
    return groups


SEAM_FIXES: dict[str, Callable[[Tiling], list[TilePass]]] = {
    "none": lambda tiling: [],
    "bands": bands,
    "half_tile": half_tile,
    "half_tile_intersections": half_tile_intersections,
}


def _pass(tiling: Tiling, core: Window, shape: str, blur: float) -> TilePass:
    """A pass that replaces `core`, which may reach beyond the area, by a gradient of `shape`."""
    # No model takes a shape beyond the greatest aspect, and what it makes of narrow ones is dashes: of a band it sees
    # at least a tile's breadth.
    slimmest = max(-(-max(core.height, core.width) // MAX_ASPECT), tiling.tile)
    around = max(tiling.padding + blur_reach(blur), -(-(slimmest - min(core.height, core.width)) // 2))
    top, height = _seen(core.top, core.height, around, tiling.height, tiling.multiple)
    left, width = _seen(core.left, core.width, around, tiling.width, tiling.multiple)
    inner = Window(core.top - top, core.left - left, core.height, core.width)
    return TilePass(Window(top, left, height, width), _weights(shape, inner, height, width, blur), shape != "flat")


def _seen(start: int, length: int, around: int, whole: int, multiple: int) -> tuple[int, int]:
    """Start and length of what the model sees: of one length for all passes of a kind where tiles are multiples, moved
    inside the area. It starts at a multiple where the area is one, so that latents lie where those of the whole do."""
    spare = (start - around) % multiple
    seen = min(-(-(length + 2 * around + spare) // multiple) * multiple, whole)
    return min(max(start - around - spare, 0), whole - seen), seen


# Passes away from the edges share their weights, and those of a large picture are many.
@lru_cache(maxsize=64)
def _weights(shape: str, inner: Window, height: int, width: int, blur: float) -> Array:
    gradient = GRADIENTS[shape](inner.height, inner.width)
    top, left = max(inner.top, 0), max(inner.left, 0)
    part = gradient[top - inner.top : height - inner.top, left - inner.left : width - inner.left]
    levels = np.zeros((height, width), np.uint8)
    levels[top : top + part.shape[0], left : left + part.shape[1]] = part
    weights = blurred(levels, blur)
    weights.setflags(write=False)
    return weights


def _flat(height: int, width: int) -> Array:
    return np.full((height, width), 255, np.uint8)


def _rows(height: int, width: int) -> Array:
    return np.repeat(_rise(height)[:, None], width, axis=1)


def _columns(height: int, width: int) -> Array:
    return np.repeat(_rise(width)[None], height, axis=0)


def _radial(height: int, width: int) -> Array:
    return _levels(1 - _distance(height, width))


def _to_corners(height: int, width: int) -> Array:
    return _levels(1 - _distance(height, width) / np.sqrt(2))


def _distance(height: int, width: int) -> Array:
    """From the middle, 1 at the middles of the sides."""
    y, x = ((np.arange(length) + 0.5) * (2 / length) - 1 for length in (height, width))
    distance: Array = np.hypot(y[:, None], x[None])
    return distance


def _rise(length: int) -> Array:
    """From nearly 0 at both ends to nearly 255 in the middle."""
    return _levels(1 - np.abs((np.arange(length) + 0.5) * (2 / length) - 1))


def _levels(share: Array) -> Array:
    levels: Array = np.rint(255 * np.maximum(share, 0))
    return levels.astype(np.uint8)


GRADIENTS: dict[str, Callable[[int, int], Array]] = {
    "flat": _flat,
    "rows": _rows,
    "columns": _columns,
    "radial": _radial,
    "to_corners": _to_corners,
}
