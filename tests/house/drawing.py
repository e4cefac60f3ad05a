"""The layers as a drawing, and as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from textwrap import wrap

from tests.house.check import files, imports, part_of
from tests.house.layers import HEIGHTS, LAYERS, PARTS, Part

WIDE, NARROW = 76, 22
"""The inner widths of the drawing's columns: of the runtime, and of what stands beside it."""


def drawing() -> str:
    """The layers as boxes, from the top down; what is for one part alone stands in a column beside the others."""
    (beside,) = (part for part in PARTS.values() if part.used_by)
    column = range(HEIGHTS[beside.name], HEIGHTS[beside.used_by])
    words = iter(wrap(f"{beside.name}: {beside.what}", NARROW - 2))
    above, lines = list[int](), list[str]()
    for height in reversed(range(len(LAYERS))):
        parts = [part for part in LAYERS[height] if part is not beside]
        widths = _widths(WIDE if height in column else WIDE + NARROW + 1, len(parts))
        cells = [_cell(part, width, len(parts)) for part, width in zip(parts, widths, strict=True)]
        border = _border(above, below := [*widths, NARROW] if height in column else widths)
        if height in column:
            if height != column[-1]:
                border = f"{border[: -NARROW - 2]}┤ {next(words, ''):<{NARROW - 1}}│"
            cells.append(f" {next(words, ''):<{NARROW - 1}}")
        lines += [border, f"│{'│'.join(cells)}│"]
        above = below
    return "\n".join([*lines, _border(above, [])])


def table() -> Iterator[str]:
    """A line a part, from the top down: its files, and the parts that it imports."""
    known: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for file in files():
        if part := part_of(file):
            counts[part.name] += 1
            known[part.name] |= {other.name for each in imports(file)[0] if (other := part_of(each.target))}
    for layer in reversed(LAYERS):
        for part in layer:
            names = sorted(known[part.name] - {part.name}, key=lambda name: (-HEIGHTS[name], name))
            yield f"{_short(part.name):<13} {counts[part.name]:>3} files   {' '.join(map(_short, names)) or '-'}"


def _short(name: str) -> str:
    return name.removeprefix("runtime/")


def _cell(part: Part, width: int, count: int) -> str:
    name = _short(part.name)
    cell = f" {name:<13} {part.what}" if count < 3 else f" {name}  {part.what}"
    if len(cell) >= width:
        raise ValueError(f"{cell!r} does not fit into {width} columns")
    return cell.ljust(width)


def _widths(whole: int, count: int) -> list[int]:
    """The widths of so many cells that fill a row, with a line between two."""
    each = (whole - count + 1) // count
    return [each] * (count - 1) + [whole - count + 1 - each * (count - 1)]


def _border(above: list[int], below: list[int]) -> str:
    """The line between two rows of cells of these widths; none are of the edge."""
    up, down = _joints(above), _joints(below)
    marks = {(False, False): "─", (False, True): "┬", (True, False): "┴", (True, True): "┼"}
    line = "".join(marks[place in up, place in down] for place in range(1, WIDE + NARROW + 2))
    left, right = "├┤" if above and below else "┌┐" if below else "└┘"
    return f"{left}{line}{right}"


def _joints(widths: list[int]) -> set[int]:
    """Where the lines between cells are."""
    return {sum(widths[:count]) + count for count in range(1, len(widths))}
