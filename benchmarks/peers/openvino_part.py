"""A torch module becomes OpenVINO's model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import openvino as ov
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Part:
    """One model: what runs, inputs by name with an example and their shapes (-1 is any), and the output's name."""

    module: nn.Module
    inputs: Mapping[str, tuple[Tensor, tuple[int, ...]]]
    output: str


def convert(part: Part) -> ov.Model:
    """OpenVINO's model of a module, traced at the examples."""
    examples = {name: example for name, (example, _) in part.inputs.items()}
    shapes = [(name, ov.PartialShape(list(shape))) for name, (_, shape) in part.inputs.items()]
    with torch.no_grad():
        model = ov.convert_model(part.module.eval(), example_input=examples, input=shapes)
    for port, name in zip(model.inputs, part.inputs, strict=True):
        port.get_tensor().set_names({name})
    model.outputs[0].get_tensor().set_names({part.output})
    return model
