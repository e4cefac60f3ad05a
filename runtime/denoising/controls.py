"""What ControlNets add to rows: their residuals, evaluated beside each other and summed by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...bundles.tensor import Array
from .rows import Outputs, Row, RowControl
from .state import lincomb


def with_controls(rows: Sequence[Row], names: Sequence[str]) -> tuple[Sequence[Row], dict[int, Exception]]:
    """The rows with their ControlNets' residuals among their inputs, by the denoiser's `names` for them.

    Rows of one ControlNet share calls, whoever's they are. Also gives the errors by the places of the rows that failed.
    """
    outputs, failed = _evaluated(rows)
    if not outputs and not failed:
        return rows, {}
    made = list(rows)
    for place, own in outputs.items():
        if place not in failed:
            row = rows[place]
            made[place] = replace(row, inputs={**row.inputs, **_summed(row.controls, own, names)}, controls=())
    return made, failed


def _evaluated(rows: Sequence[Row]) -> tuple[dict[int, dict[int, Outputs]], dict[int, Exception]]:
    """The outputs of each row's ControlNets by the row's place and the ControlNet's, and the errors of rows."""
    outputs: dict[int, dict[int, Outputs]] = {}
    failed: dict[int, Exception] = {}
    places = [(place, index) for place, row in enumerate(rows) for index, _ in enumerate(row.controls)]
    for net in dict.fromkeys(control.net for row in rows for control in row.controls):
        own = [(place, index) for place, index in places if rows[place].controls[index].net is net]
        fed = [Row({**rows[place].inputs, **rows[place].controls[index].inputs}) for place, index in own]
        for number, made in net.stream(fed):
            place, index = own[number]
            if isinstance(made, Exception):
                failed.setdefault(place, made)
            else:
                outputs.setdefault(place, {})[index] = made
    return outputs, failed


def _summed(controls: Sequence[RowControl], outputs: Mapping[int, Outputs], names: Sequence[str]) -> dict[str, Array]:
    """The weighted sums of residuals, by the denoiser's names."""
    arrays = [outputs[index] for index in range(len(controls))]
    return {
        name: lincomb([control.weights[place] for control in controls], [own[name] for own in arrays])
        for place, name in enumerate(names)
    }
