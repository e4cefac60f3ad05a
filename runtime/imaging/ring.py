"""Taking out the colour shift of an inpainted area, measured on the ring around it, where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...bundles.tensor import Array
from ...errors import InputError, unknown
from .mask_shape import grow, region
from .tiles import Window, strips

FIELDS = {"constant": 0, "linear": 1, "quadratic": 2}
_CELLS = 8

Levels = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class RingMatch:
    """Corrected pixels uint8 [height, width, 3], and how far the ring's colours were off before and are after.

    `before` and `after` are levels of R, G and B: the mean over the cells of a grid of 8 x 8 on the masked area and its
    ring, of the absolute mean difference from the original within a cell. They are 0 where there is no ring.
    """

    pixels: Array
    before: Levels
    after: Levels
    notes: tuple[str, ...] = ()


def ring(original: Array, repainted: Array, levels: Array, width: int = 16, field: str = "constant") -> RingMatch:
    """Remove from `repainted`, inside the mask, the colour shift that it has in the ring of `width` pixels around it.

    Pixels are uint8 [height, width, 3], the mask is uint8 [height, width]; the ring is where that is 0. The shift is
    fitted there by least squares as a "constant", "linear" or "quadratic" field over the area, and held within the
    values that the fit has on the ring, so that it does not run away where the ring is on one side only. `repainted` is
    what the model made of the whole picture, before anything was pasted. Pixels of mask 0 stay as they are.

    Raises `InputError` for an unknown field, a ring of no width, and shapes that do not go together.
    """
    if field not in FIELDS:
        raise unknown("shift field", field, FIELDS)
    if width < 1:
        raise InputError(f"a ring is at least 1 pixel wide, not {width}")
    if not (original.shape == repainted.shape == (*levels.shape, 3)):
        shapes = ", ".join(str(list(array.shape)) for array in (original, repainted, levels))
        raise InputError(f"original, repainted and mask do not go together: {shapes}; give them in one size")
    area, still = region(levels, width), (0.0, 0.0, 0.0)
    if area is None:
        return RingMatch(repainted, still, still)
    masked = area.cut(levels) > 0
    around = (grow(masked.view(np.uint8), width) > 0) & ~masked
    if not around.any():
        return RingMatch(repainted, still, still, ("the mask covers everything: no ring tells its colour shift",))
    return _corrected(original, repainted, area, masked, around, FIELDS[field])


def _corrected(original: Array, repainted: Array, area: Window, masked: Array, around: Array, order: int) -> RingMatch:
    result = repainted.copy()
    inside, truth = result[area.slices], original[area.slices]
    gram, moments = np.zeros(1), np.zeros(1)
    for rows, columns in _where(around):
        terms = _terms(rows, columns, masked.shape, order)
        gram = gram + terms.T @ terms
        moments = moments + terms.T @ _off(inside, truth, rows, columns)
    # The least-norm solution of the normal equations, where a thin ring does not tell all terms.
    fit = np.linalg.lstsq(gram, moments, rcond=1e-6)[0].astype(np.float32)
    low, high = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    before, after = np.zeros((_CELLS**2, 3)), np.zeros((_CELLS**2, 3))
    counts = np.zeros(_CELLS**2)
    for rows, columns in _where(around):
        off, fitted = _off(inside, truth, rows, columns), _terms(rows, columns, masked.shape, order) @ fit
        low, high = np.minimum(low, fitted.min(axis=0)), np.maximum(high, fitted.max(axis=0))
        cells = rows * _CELLS // masked.shape[0] * _CELLS + columns * _CELLS // masked.shape[1]
        counts += np.bincount(cells, minlength=_CELLS**2)
        before += _by_cell(cells, off)
        after += _by_cell(cells, off - fitted)
    for rows, columns in _where(masked):
        shift = np.clip(_terms(rows, columns, masked.shape, order) @ fit, low, high)
        inside[rows, columns] = np.rint(np.clip(inside[rows, columns] - shift, 0, 255))
    return RingMatch(result, _mean_size(before, counts), _mean_size(after, counts))


def _where(pixels: Array) -> Iterator[tuple[Array, Array]]:
    """Rows and columns where bools [height, width] are set, a strip at a time, those that have some."""
    for strip in strips(*pixels.shape):
        rows, columns = np.nonzero(pixels[strip])
        if rows.size:
            yield rows + strip.start, columns


def _off(ours: Array, truth: Array, rows: Array, columns: Array) -> Array:
    difference: Array = ours[rows, columns].astype(np.float32) - truth[rows, columns]
    return difference


def _terms(rows: Array, columns: Array, shape: tuple[int, ...], order: int) -> Array:
    """The polynomial's terms at pixels, float32 [n, terms], of coordinates that are -1 to 1 over the area."""
    y, x = (
        (index.astype(np.float32) + 0.5) * (2 / length) - 1
        for index, length in zip((rows, columns), shape, strict=True)
    )
    return np.stack([y**i * x**j for i in range(order + 1) for j in range(order + 1 - i)], axis=1)


def _by_cell(cells: Array, values: Array) -> Array:
    return np.stack([np.bincount(cells, channel, _CELLS**2) for channel in values.T], axis=1)


def _mean_size(sums: Array, counts: Array) -> Levels:
    filled = counts > 0
    red, green, blue = np.abs(sums[filled] / counts[filled, None]).mean(axis=0).tolist()
    return red, green, blue
