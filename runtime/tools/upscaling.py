"""How a picture is upscaled: the options, and what they come to for a model and a size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...bundles.facts import ModelFacts
from ...errors import InputError
from ..conventions.tiles import OURS, TileRule
from ..imaging.metadata import format_parameters, parse_parameters
from ..imaging.picture import Picture
from ..imaging.seams import Line
from ..imaging.tile_passes import SEAM_FIXES, TilePass, Tiling, bands, redraw
from ..requests import checks
from ..requests.expand import ALIASES, expand
from ..requests.options import default, fields_of, of_tool
from ..requests.request import Request

# Fields of a request that are set here.
OWN = fields_of("request").keys() - of_tool("upscale").keys()


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

    scale: float = default("scale", "upscaling")
    method: str = default("method", "upscaling")
    tile: int | None = default("tile", "upscaling")
    overlap: int | None = default("overlap", "upscaling")
    padding: int | None = default("padding", "upscaling")
    mask_blur: float | None = default("mask_blur", "upscaling")
    order: str = default("order", "upscaling")
    seam_fix: str = default("seam_fix", "upscaling")
    seam_fix_strength: float | None = default("seam_fix_strength", "upscaling")
    seam_fix_width: int | None = default("seam_fix_width", "upscaling")
    seam_fix_padding: int | None = default("seam_fix_padding", "upscaling")
    seam_fix_blur: float | None = default("seam_fix_blur", "upscaling")
    seam_limit: float = default("seam_limit", "upscaling")
    repair: bool = default("repair", "upscaling")
    colour_match: str | None = default("colour_match", "upscaling")
    batch: int | None = default("batch", "upscaling")

    def __post_init__(self) -> None:
        """Raise `InputError` for the first field that cannot be used, and for one that the method has not."""
        checks.check(self, fields_of("upscaling"))
        if self.seam_fix_strength == 0:
            raise InputError(
                "a seam fix of strength 0 does nothing; set repair and seam_fix instead", "seam_fix_strength"
            )
        joint = self.method == "joint"
        apart = {name for name in ("padding", "mask_blur") if getattr(self, name) is not None}
        apart |= {name for name in ("order", "seam_fix") if getattr(self, name) not in ("linear", "none")}
        if joint and apart:
            raise InputError(f"{', '.join(sorted(apart))}: of method 'tiles'; choose it, or leave them out", min(apart))
        if not joint and self.overlap is not None:
            raise InputError("overlap is of method 'joint'; choose it, or give padding instead", "overlap")
        if joint and self.colour_match == "tile":
            raise InputError(
                "colour_match 'tile' is of method 'tiles'; choose it, or match by 'wavelet'", "colour_match"
            )

    @property
    def matching(self) -> str:
        """The colour match, a method's own where none is chosen."""
        return self.colour_match or ("tile" if self.method == "tiles" else "none")

    def sizes(self, facts: ModelFacts, rule: TileRule = OURS) -> Sizes:
        """The lengths for a model; raises `InputError` for tiles that do not suit it or what lies around them."""
        tile, unit = self.tile or min(facts.default_size), 2 * facts.multiple
        if tile % unit:
            raise InputError(f"tiles of {tile} pixels do not suit this model; give a multiple of {unit}", "tile")
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
                raise InputError(
                    f"tiles of {tile} pixels are no larger than the {name}, {length}; enlarge them", "tile"
                )
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

    def parameters(self, text: str, sizes: Sizes, size: tuple[int, int], upscaler: str) -> str:
        """A run's parameters as those of a whole result of (width, height): A1111's text, and what was done here."""
        extra = {"Upscale by": f"{self.scale:g}", "Upscaler": upscaler, "Upscale method": self.method}
        extra["Tile size"] = str(sizes.tile)
        if self.method == "joint":
            extra["Tile overlap"] = str(sizes.overlap)
        else:
            extra |= {"Tile padding": str(sizes.padding), "Mask blur": f"{sizes.mask_blur:g}", "Tile order": self.order}
            extra["Seam fix"] = self.seam_fix
        if self.matching != "none":
            extra["Colour match"] = self.matching
        made = parse_parameters(text)
        return format_parameters(replace(made, size=size, extra=(*made.extra, *extra.items())))


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


def tile_request(picture: Picture, prompt: str, negative: str, seed: int | None, options: dict[str, Any]) -> Request:
    """The request of every tile; raises `InputError` for what is not a request's, or is set here."""
    named = {ALIASES.get(name, name) for name in options}
    if wrong := sorted(named & OWN):
        raise InputError(
            f"an upscale sets {', '.join(wrong)} itself; leave it out, and give scale and tile instead", wrong[0]
        )
    (request,) = expand([picture], [prompt], [negative], seed, 1, options)
    return request
