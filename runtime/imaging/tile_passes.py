"""The passes of tiled upscaling as data: tiles of a grid in some order, and passes that mend the seams between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .gradients import weights
from .mask_shape import around, blur_reach, region
from .picture import MAX_ASPECT
from .tiles import Window

ORDERS = ("linear", "chess")
_CELL = 8


@dataclass(frozen=True)
class Tiling:
    """How an area of `height` x `width` pixels is cut: into tiles of `tile`, from the top left, the last ones smaller.

    The model sees `padding` pixels around what it replaces; masks are blurred by a Gaussian of sigma `blur` px; sides
    of what it sees are multiples of `multiple` where the area is that large. `ultimate` passes are those of "Ultimate
    SD Upscale" (scripts/ultimate-upscale.py): the model sees the rectangle of a pass's mask, scaled to a tile's side,
    or for tiles to the 64s that hold tile and padding; the gradient around corners ends at its tile's corners, not
    at its sides.
    """

    height: int
    width: int
    tile: int = 512
    padding: int = 32
    blur: float = 8
    multiple: int = 8
    ultimate: bool = False

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
    falls from the middle to the sides: then the model may change all that it sees, so that the sides fit, too.
    With a `size` (width, height) the model works at that, and under the mask, as A1111 does."""

    window: Window
    weights: Array
    fades: bool = False
    size: tuple[int, int] | None = None

    @property
    def work_size(self) -> tuple[int, int]:
        """(width, height) of what goes through the model."""
        return self.size or (self.window.width, self.window.height)


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
    shape = "to_corners" if tiling.ultimate else "radial"
    return half_tile(tiling) + [_pass(tiling, window, shape, tiling.blur) for window in corners]


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
    if tiling.ultimate:
        return _ultimate_pass(tiling, core, shape, blur)
    # No model takes a shape beyond the greatest aspect, and what it makes of narrow ones is dashes: of a band it sees
    # at least a tile's breadth.
    slimmest = max(-(-max(core.height, core.width) // MAX_ASPECT), tiling.tile)
    around = max(tiling.padding + blur_reach(blur), -(-(slimmest - min(core.height, core.width)) // 2))
    top, height = _seen(core.top, core.height, around, tiling.height, tiling.multiple)
    left, width = _seen(core.left, core.width, around, tiling.width, tiling.multiple)
    inner = Window(core.top - top, core.left - left, core.height, core.width)
    return TilePass(Window(top, left, height, width), weights(shape, inner, height, width, blur), shape != "flat")


def _ultimate_pass(tiling: Tiling, core: Window, shape: str, blur: float) -> TilePass:
    """Such a pass as A1111 inpaints "only masked": on the rectangle of what its blurred mask has."""
    side, padding = tiling.tile, 0 if shape == "to_corners" else tiling.padding
    if shape == "flat":
        # Pillow's rectangles have their last row and column, too.
        core = replace(core, height=core.height + 1, width=core.width + 1)
        side = -(-(tiling.tile + padding) // 64) * 64
    area = tiling.height, tiling.width
    near = around(core, area, 2 * blur_reach(blur))
    levels = weights(shape, core.within(near), near.height, near.width, blur)
    masked = region(levels)
    assert masked is not None, "a pass's middle is in the area"
    own = replace(masked, top=near.top + masked.top, left=near.left + masked.left)
    window = around(own, area, padding, (side, side))
    placed = np.zeros((window.height, window.width), np.uint8)
    placed[own.within(window).slices] = levels[masked.slices]
    placed.setflags(write=False)
    scale = side / max(window.width, window.height)
    width, height = (
        max(round(length * scale / tiling.multiple), 1) * tiling.multiple for length in (window.width, window.height)
    )
    return TilePass(window, placed, shape != "flat", (width, height))


def _seen(start: int, length: int, around: int, whole: int, multiple: int) -> tuple[int, int]:
    """Start and length of what the model sees: of one length for all passes of a kind where tiles are multiples, moved
    inside the area. It starts at a multiple where the area is one, so that latents lie where those of the whole do."""
    spare = (start - around) % multiple
    seen = min(-(-(length + 2 * around + spare) // multiple) * multiple, whole)
    return min(max(start - around - spare, 0), whole - seen), seen
