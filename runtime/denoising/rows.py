"""Rows of the denoiser, and which of them can share a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...bundles.graph import DEEP_FEATURES
from ...bundles.tensor import Array, TensorSpec
from ..conditioning.low_rank import RowLora

Shape = tuple[int, ...]
Outputs = Mapping[str, Array]


class RowEvaluator(Protocol):
    """What evaluates a graph row by row, such as a `Denoiser`."""

    def stream(self, rows: Sequence[Row]) -> Iterator[tuple[int, Outputs | Exception]]:
        """Every row's index, with its outputs by name, or its error."""
        ...


@dataclass(frozen=True, eq=False)
class RowControl:
    """A ControlNet's part in a row.

    `net` evaluates the ControlNet's graph; `inputs` are those that it takes beside the row's own, or in their place,
    such as the hint float32 [3, height, width] in [0, 1]. Its outputs have the names of the denoiser's inputs and
    count `weights`, in their order there.
    """

    net: RowEvaluator
    inputs: Mapping[str, Array]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One evaluation of the denoiser: its inputs by name, without the axis of rows, on the engine's device.

    `sample` float32 [channels, height, width] are the latents, scaled for the model; `timestep` is float32 [1]; the
    others are what the graph takes besides. Those of adapters may be absent. `controls` are evaluated first; what they
    give is added to the row's inputs. `low_rank` are its LoRAs. Its weight in the sum of its job's rows is the job's.
    """

    inputs: Mapping[str, Array]
    controls: Sequence[RowControl] = ()
    low_rank: Sequence[RowLora] = ()

    @property
    def shallow(self) -> bool:
        """Does it go on from deep features?"""
        return DEEP_FEATURES in self.inputs


@dataclass
class Group:
    """Rows that share calls: the shape of each input without the rows' axis, and the places of the rows.

    None is the shape of an input that the rows lack.
    """

    shapes: dict[str, Shape | None]
    members: list[int] = field(default_factory=list)


def grouped(rows: Sequence[Row], specs: Sequence[TensorSpec], optional: frozenset[str]) -> Iterator[Group]:
    """Rows whose inputs are of equal shapes; an adapter's that is absent goes with any other's.

    So that rows with different adapters share a call, and a row alone has no input that it does not use.
    """
    groups: dict[Any, list[Group]] = {}
    needed = [spec.name for spec in specs if spec.name not in optional]
    lacking = {spec.name: absent(spec) for spec in specs if spec.name in optional}
    for index, row in enumerate(rows):
        shapes = {name: _shape(row.inputs.get(name)) for name in needed}
        own = {name: row.inputs[name].shape if name in row.inputs else shape for name, shape in lacking.items()}
        alike = groups.setdefault(tuple(shapes.items()), [])
        for group in alike:
            joined = _joined(group.shapes, own)
            if joined is not None:
                group.shapes |= joined
                group.members.append(index)
                break
        else:
            alike.append(Group({**shapes, **own}, [index]))
    for alike in groups.values():
        yield from alike


def absent(spec: TensorSpec) -> Shape:
    """The shape of an adapter's input, without the rows' axis, where the adapter is absent."""
    return tuple(1 if isinstance(axis, str) else axis for axis in spec.axes[1:])


def _joined(shapes: Mapping[str, Shape | None], own: Mapping[str, Shape]) -> dict[str, Shape] | None:
    """The shapes that both broadcast to; None where there are none."""
    joined = {}
    for name, shape in own.items():
        other = shapes[name] or ()
        if len(other) != len(shape) or any(a != b and 1 not in (a, b) for a, b in zip(shape, other, strict=True)):
            return None
        joined[name] = tuple(map(max, shape, other))
    return joined


def _shape(array: Array | None) -> Shape | None:
    return getattr(array, "shape", None)
