"""What options' values are: texts to numbers, sizes, lists, colours and seeds."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A whole number; -1 draws one."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; -1 draws one") from None
    return secrets.randbelow(2**32) if value == -1 else value


def whole(least: int, most: int) -> Callable[[str], int]:
    """What reads a whole number from `least` to `most`, both at least 0."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels."""
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 512x768") from None
    return width, height


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers, such as 0.7,0.5") from None


def blur(text: str) -> float | tuple[float, ...]:
    """A number, or one along x and one along y with a comma between them."""
    widths = numbers(text)
    return widths if len(widths) > 1 else widths[0]


def colour(text: str) -> tuple[int, ...]:
    """Three levels with commas between them."""
    levels = numbers(text)
    if len(levels) != 3 or any(level != int(level) for level in levels):
        raise argparse.ArgumentTypeError(f"{text!r} is no colour, such as 255,255,255")
    return tuple(int(level) for level in levels)


def ending(text: str) -> str:
    """A file's ending, with its dot."""
    return f".{text.lower().lstrip('.')}"
