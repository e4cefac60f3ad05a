"""How a picture is upscaled: the options, and what they come to for a model and a size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...bundles.facts import ModelFacts
from ...errors import InputError
from ..conventions.tiles import OURS, TileRule
from ..imaging.match import METHODS as MATCHES
from ..imaging.picture import MAX_SIDE
from ..imaging.seams import LIMIT, Line
from ..imaging.tile_passes import ORDERS, SEAM_FIXES, TilePass, Tiling, bands, redraw
from ..requests import checks

METHODS = ("joint", "tiles")
MAX_SCALE = 16


@dataclass(frozen=True)
class Upscaling:
    """How a picture is enlarged and repainted. Lengths are in pixels of the result; where they are None, they are in
    proportion to the tile as "Ultimate SD Upscale" has them for one of 512, but no less than a small tile needs.

    Method "joint" has the model see all windows of `tile` pixels at every step, joined in latents: neighbours share
    `overlap` (a quarter), over which the one fades into the other, so that no seam can arise. "tiles" repaints one tile
    after the other, as "SD Upscale" and "Ultimate SD Upscale" do: the model sees `padding` around a tile, whose edge is
    blurred by `mask_blur`, in `order` "linear" or "chess", with a `seam_fix`: none, bands, half_tile or
    half_tile_intersections. `tile` None is the model's usual side.

    Seams are scored (`imaging.seams`), and those above `seam_limit` are repaired by bands if `repair` is set; what
    scores no better then is put back.
    `seam_fix_width` is that of the bands, `seam_fix_strength`, `seam_fix_padding` and `seam_fix_blur` are what all
    fixes and the repair have instead of the tiles' own; the strength's None is the tiles' own. `colour_match` is by
    "wavelet", "histogram" or "mean" to the enlarged picture, or "tile", which tiles have where it is None: each keeps
    the low frequencies of what it is painted over, so that none is tinted. `batch` is how many tiles run together, None
    as many as go into one call of the engine.
    """

    scale: float = 2.0
    method: str = "joint"
    tile: int | None = None
    overlap: int | None = None
    padding: int | None = None
    mask_blur: float | None = None
    order: str = "linear"
    seam_fix: str = "none"
    seam_fix_strength: float | None = None
    seam_fix_width: int | None = None
    seam_fix_padding: int | None = None
    seam_fix_blur: float | None = None
    seam_limit: float = LIMIT
    repair: bool = True
    colour_match: str | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used, and for one that the method has not."""
        checks.choice("upscaling method", self.method, METHODS)
        checks.choice("tile order", self.order, ORDERS)
        checks.choice("seam fix", self.seam_fix, SEAM_FIXES)
        if self.colour_match is not None:
            checks.choice("colour match", self.colour_match, ("none", "tile", *MATCHES))
        checks.number("scale", self.scale, 1, MAX_SCALE)
        checks.number("seam_limit", self.seam_limit, 0, float("inf"))
        least = {"tile": 1, "overlap": 0, "padding": 0, "seam_fix_width": 2, "batch": 1, "seam_fix_padding": 0}
        for name in self._given(least):
            checks.whole(name, getattr(self, name), least[name], MAX_SIDE)
        most = {"mask_blur": 256, "seam_fix_blur": 256, "seam_fix_strength": 1}
        for name in self._given(most):
            checks.number(name, getattr(self, name), 0, most[name])
        if self.seam_fix_strength == 0:
            raise InputError("a seam fix of strength 0 does nothing; set repair and seam_fix instead")
        joint = self.method == "joint"
        apart = {name for name in ("padding", "mask_blur") if getattr(self, name) is not None}
        apart |= {name for name in ("order", "seam_fix") if getattr(self, name) not in ("linear", "none")}
        if joint and apart:
            raise InputError(f"{', '.join(sorted(apart))}: of method 'tiles'; choose it, or leave them out")
        if not joint and self.overlap is not None:
            raise InputError("overlap is of method 'joint'; choose it, or give padding instead")
        if joint and self.colour_match == "tile":
            raise InputError("colour_match 'tile' is of method 'tiles'; choose it, or match by 'wavelet'")

    @property
    def matching(self) -> str:
        """The colour match, a method's own where none is chosen."""
        return self.colour_match or ("tile" if self.method == "tiles" else "none")

    def _given(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def sizes(self, facts: ModelFacts, rule: TileRule = OURS) -> Sizes:
        """The lengths for a model; raises `InputError` for tiles that do not suit it or what lies around them."""
        tile, unit = self.tile or min(facts.default_size), 2 * facts.multiple
        if tile % unit:
            raise InputError(f"tiles of {tile} pixels do not suit this model; give a multiple of {unit}")
        # Of small tiles these would be parts of a latent, which join nothing.
        latent = facts.downscale
        padding, width = max(tile // 16, 2 * latent), max(tile // 8, min(8 * latent, tile // 2))
        sizes = Sizes(
            tile,
            tile // 4 if self.overlap is None else self.overlap,
            padding if self.padding is None else self.padding,
            max(tile / 64, latent) if self.mask_blur is None else self.mask_blur,
            width if self.seam_fix_width is None else self.seam_fix_width,
            max(tile // rule.fix_padding, 2 * latent) if self.seam_fix_padding is None else self.seam_fix_padding,
            max(tile / 128, latent / 2) if self.seam_fix_blur is None else self.seam_fix_blur,
            facts.multiple,
        )
        for name in ("overlap", "padding", "fix_width", "fix_padding"):
            if getattr(sizes, name) >= tile:
                length = getattr(sizes, name)
                raise InputError(f"tiles of {tile} pixels are no larger than the {name}, {length}; enlarge them")
        return sizes

    def redrawn(self, sizes: Sizes, height: int, width: int, rule: TileRule = OURS) -> list[TilePass]:
        """The passes over all tiles of a picture."""
        return redraw(replace(sizes.tiling(height, width), ultimate=rule.ultimate), self.order)

    def mended(self, sizes: Sizes, height: int, width: int, rule: TileRule = OURS) -> list[TilePass]:
        """The passes of the seam fix; bands go their own way."""
        tiling = sizes.fixing(height, width)
        if self.seam_fix == "bands":
            return bands(tiling, sizes.fix_width)
        return SEAM_FIXES[self.seam_fix](replace(tiling, ultimate=rule.ultimate))


@dataclass(frozen=True)
class Sizes:
    """The lengths of `Upscaling` in pixels, and the multiple that a model's sides are of."""

    tile: int
    overlap: int
    padding: int
    mask_blur: float
    fix_width: int
    fix_padding: int
    fix_blur: float
    multiple: int

    def tiling(self, height: int, width: int) -> Tiling:
        """A picture cut into tiles."""
        return Tiling(height, width, self.tile, self.padding, self.mask_blur, self.multiple)

    def fixing(self, height: int, width: int) -> Tiling:
        """A picture cut into tiles, as the seam fixes see it."""
        return Tiling(height, width, self.tile, self.fix_padding, self.fix_blur, self.multiple)

    def bands(self, height: int, width: int, lines: Sequence[Line]) -> list[TilePass]:
        """A band along each line."""
        rows, columns = ([line.at for line in lines if line.axis == axis] for axis in ("row", "column"))
        return bands(self.fixing(height, width), self.fix_width, (rows, columns))
