"""Rows in, model outputs out: groups the rows of every active job into as few engine calls as the limits allow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...bundles.profile import most_rows
from ...bundles.tensor import Array, TensorSpec
from ...engines.arrays import namespace
from ...engines.base import Engine
from ...errors import EngineError, OutOfMemoryError
from .controls import with_controls
from .rows import Outputs, Row, RowEvaluator, Shape, absent, grouped

SAMPLE, TIMESTEP, OUTPUT = "sample", "timestep", "model_output"
CONTROL = "control"
"""The kind of adapter whose inputs are a ControlNet's residuals."""
# 64 x 64 latents are a row of 512 x 512 pixels in Stable Diffusion. The two of guidance share the reading of weights,
# 6 % of a step on two cores with AMX; on two without it larger calls were no faster a row.
AREAS: Mapping[str, int] = {"cpu": 2 * 4096, "cuda": 16 * 4096}
"""The most latent positions of a call that suit a device."""
# Stacked inputs that are kept from pass to pass, each as large as those of a call.
MOST_STACKED = 8


class Denoiser:
    """Evaluates rows in batches of equal shapes.

    `max_rows` and the engine bound the rows of a call, and `max_area` their latent positions (rows · height · width),
    so that a large picture does not multiply the activations' memory. A call that the memory does not suffice for
    lowers `max_rows`, and its rows are evaluated in halves. `adapters` are those of the graph, whose inputs a row may
    lack. Rows that have LoRAs go to `lora`, those with deep features to `shallow`, all others never, so that no picture
    depends on what shares its calls.
    """

    def __init__(
        self,
        engine: Engine,
        max_rows: int,
        max_area: int,
        adapters: Mapping[str, tuple[str, ...]] | None = None,
        lora: RowEvaluator | None = None,
        shallow: RowEvaluator | None = None,
    ) -> None:
        self.engine = engine
        self.lora = lora
        self.shallow = shallow
        self.adapters = adapters or {}
        self.max_rows = max_rows
        self._max_area = max_area
        self._optional = frozenset(name for names in self.adapters.values() for name in names)
        self._stacked: OrderedDict[tuple[str, tuple[int, ...]], tuple[list[Array | None], Array]] = OrderedDict()
        self._absent: dict[tuple[str, Shape], Array] = {}

    def most(self, area: int) -> int:
        """The most rows of so many latent positions that a call may have, at least 1."""
        return max(1, min(self.max_rows, self._max_area // area))

    def forget(self) -> None:
        """Stack the inputs that stay from step to step anew on the next call."""
        self._stacked.clear()

    def __call__(self, rows: Sequence[Row]) -> list[Outputs]:
        """The model's outputs for every row, by name, without the axis of rows; raises the first error of a row."""
        made: dict[int, Outputs] = {}
        for index, outputs in self.stream(rows):
            if isinstance(outputs, Exception):
                raise outputs
            made[index] = outputs
        return [made[index] for index in range(len(rows))]

    def stream(self, rows: Sequence[Row]) -> Iterator[tuple[int, Outputs | Exception]]:
        """Every row's index, and its outputs as soon as its call is done.

        A call that fails is halved until the rows at fault are alone; these give their error.
        """
        places: dict[RowEvaluator | None, list[int]] = {None: []}
        for place, row in enumerate(rows):
            places.setdefault(self._stand_in(row), []).append(place)
        for other, own in places.items():
            stream = self._stream if other is None else other.stream
            for number, outputs in stream([rows[place] for place in own]):
                yield own[number], outputs

    def _stand_in(self, row: Row) -> RowEvaluator | None:
        """What evaluates a row in the denoiser's place; None for nothing."""
        if row.shallow and self.shallow is not None:
            return self.shallow
        return self.lora if row.low_rank else None

    def _stream(self, rows: Sequence[Row]) -> Iterator[tuple[int, Outputs | Exception]]:
        rows, failed = with_controls(rows, self.adapters.get(CONTROL, ()))
        yield from failed.items()
        for group in grouped(rows, self.engine.inputs, self._optional):
            members = [index for index in group.members if index not in failed]
            yield from self._group(group.shapes, members, rows)

    def _group(
        self, shapes: Mapping[str, Shape | None], members: list[int], rows: Sequence[Row]
    ) -> Iterator[tuple[int, Outputs | Exception]]:
        """The outputs of rows that share calls."""
        if missing := sorted(name for name, shape in shapes.items() if shape is None):
            for index in members:
                yield index, EngineError(f"the denoiser takes {', '.join(missing)}, of which a row has no array")
            return
        height, width = (shapes[SAMPLE] or ())[-2:]
        built = most_rows(self.engine.profiles, _lengths(self.engine.inputs, shapes))
        waiting = list(members)
        while waiting:
            size = min(built or self.max_rows, self.most(height * width))
            count = self._together(waiting[:size], rows)
            batch, waiting = waiting[:count], waiting[count:]
            yield from self._isolated(batch, rows, size, shapes)

    def _together(self, members: list[int], rows: Sequence[Row]) -> int:
        """How many of some members of a group can share a call."""
        return len(members)

    def _isolated(
        self, batch: list[int], rows: Sequence[Row], most: int, shapes: Mapping[str, Shape | None]
    ) -> Iterator[tuple[int, Outputs | Exception]]:
        """The outputs of a call of at most `most` rows; where it fails, of its halves, down to single rows' errors."""
        try:
            outputs = self._call([rows[index] for index in batch], min(most, self.max_rows), shapes)
        except Exception as exc:  # noqa: BLE001 - whatever an engine raises is its rows' own
            if len(batch) == 1:
                yield batch[0], exc
                return
            half = len(batch) // 2
            if isinstance(exc, (OutOfMemoryError, MemoryError)):
                self.max_rows = min(self.max_rows, half)
            yield from self._isolated(batch[:half], rows, most, shapes)
            yield from self._isolated(batch[half:], rows, most, shapes)
            return
        for place, index in enumerate(batch):
            yield index, {name: values[place] for name, values in outputs.items()}

    def _call(self, rows: list[Row], most: int, shapes: Mapping[str, Shape | None]) -> dict[str, Array]:
        """The engine's outputs for rows, padded to the next of its buckets, but to no more than `most`."""
        wanted = next((bucket for bucket in self.engine.row_buckets if bucket >= len(rows)), len(rows))
        rows = rows + [rows[-1]] * (min(wanted, most) - len(rows))
        return self.engine(self._feeds(rows, shapes))

    def _feeds(self, rows: Sequence[Row], shapes: Mapping[str, Shape | None]) -> dict[str, Array]:
        """The engine's inputs for rows."""
        return {spec.name: self._joined(spec, rows, shapes[spec.name]) for spec in self.engine.inputs}

    def _joined(self, spec: TensorSpec, rows: Sequence[Row], shape: Shape | None) -> Array:
        """An input of all rows. What stays the same from step to step is joined once."""
        arrays = [row.inputs.get(spec.name) for row in rows]
        if spec.name in self._optional:
            assert shape is not None
            if all(array is None for array in arrays):
                return self._zeros(spec, (len(rows), *shape))
        if spec.name in (SAMPLE, TIMESTEP, *self.adapters.get(CONTROL, ())):
            return self._stack(spec, arrays, shape)
        key = spec.name, tuple(map(id, arrays))
        if key not in self._stacked or self._stacked[key][1].shape[1:] != shape:
            # With the arrays themselves, so that their ids stay theirs.
            self._stacked[key] = arrays, self._stack(spec, arrays, shape)
            while len(self._stacked) > MOST_STACKED:
                self._stacked.popitem(last=False)
        self._stacked.move_to_end(key)
        return self._stacked[key][1]

    def _stack(self, spec: TensorSpec, arrays: Sequence[Array | None], shape: Shape | None) -> Array:
        """Arrays along a new axis of rows; those of an input that has no other axis are [1] each.

        An adapter's input that is absent is zeros; it is brought to the `shape` of the others.
        """
        xp = namespace(self.engine.device)
        if spec.name in self._optional:
            assert shape is not None
            there = [self._zeros(spec, absent(spec)) if array is None else array for array in arrays]
            wide: Array = xp.stack([xp.broadcast_to(array, shape) for array in there])
            return wide
        own = [array for array in arrays if array is not None]
        joined: Array = (xp.concatenate if own[0].ndim == len(spec.axes) else xp.stack)(own)
        return joined

    def _zeros(self, spec: TensorSpec, shape: Shape) -> Array:
        """Zeros, made once: a CUDA graph may go on reading them."""
        if (spec.name, shape) not in self._absent:
            self._absent[spec.name, shape] = namespace(self.engine.device).zeros(shape, spec.dtype)
        return self._absent[spec.name, shape]


def _lengths(specs: Iterable[TensorSpec], shapes: Mapping[str, Shape | None]) -> dict[str, int]:
    """The lengths of the dynamic axes but for the rows'."""
    return {
        axis: length
        for spec in specs
        for axis, length in zip(spec.axes[1:], shapes[spec.name] or (), strict=False)
        if isinstance(axis, str)
    }
