"""Writes the example pictures of models/examples: ``python -m training.examples --npm DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from .data import draw_icon, drawings

FOLDER = Path(__file__).parents[1] / "models/examples"
SIZE = 64
CHOSEN = {
    "cat": ("cat-face", "noto"),
    "fox": ("fox", "twemoji"),
    "pizza": ("pizza", "twemoji"),
    "octopus": ("octopus", "noto"),
    "rocket": ("rocket", "flat"),
    "strawberry": ("strawberry", "flat"),
    "hamburger-sketch": ("hamburger", "sketch"),
    "house-sketch": ("house", "sketch"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--npm", type=Path, required=True)
    npm = parser.parse_args().npm
    FOLDER.mkdir(parents=True, exist_ok=True)
    sets = drawings(npm, {style for _, style in CHOSEN.values()})
    for name, (slug, style) in CHOSEN.items():
        Image.fromarray(draw_icon(sets, slug, style, SIZE)).save(FOLDER / f"{name}.png", optimize=True)
    _with_hole(Image.open(FOLDER / "fox.png")).save(FOLDER / "hole.png", optimize=True)


def _with_hole(picture: Image.Image) -> Image.Image:
    """A picture whose middle is transparent, to be painted anew."""
    whole = picture.convert("RGBA")
    alpha = Image.new("L", whole.size, 255)
    alpha.paste(0, (SIZE // 4, SIZE // 4, 3 * SIZE // 4, 3 * SIZE // 4))
    whole.putalpha(alpha)
    return whole


if __name__ == "__main__":
    main()
