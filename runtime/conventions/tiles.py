"""What programs do when they upscale in tiles: a field of `conventions.Convention`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TileRule:
    """A program's habits of the upscaling method "tiles"; what is given explicitly wins."""

    ultimate: bool = False
    """Are passes those of "Ultimate SD Upscale" (see `imaging.passes.Tiling`)?"""
    noise: str | None = "field"
    """The noise of tiles; None is the convention's."""
    colour_match: str = "tile"
    repair: bool = True
    """Are seams repaired that show?"""
    fix_strength: float | None = None
    """Of the seam fix; None is the tiles'."""
    fix_padding: int = 16
    """A tile is so many paddings of the seam fix."""
    fix_seed: int = 1
    """What the seam fix adds to the seed."""


OURS = TileRule()

# scripts/ultimate-upscale.py of Coyote-A/ultimate-upscale-for-automatic1111; every tile has the seed's noise
ULTIMATE = TileRule(True, None, "none", False, fix_strength=0.35, fix_padding=32, fix_seed=0)
