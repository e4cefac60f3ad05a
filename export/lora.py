"""LoRA as inputs of a graph: low-rank matrices and a gate for each row, so that rows of different ones share calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ..bundles.graph import LowRankLayer
from .wrappers import Geglu

MATRIX, GATE = "lora", "lora_gate"
LORA = "lora"
SUFFIX = "_lora"
"""What the name and the role of a graph that takes LoRAs have after those of the one that does not."""
# The ranks side by side of all LoRAs of a call.
MOST_RANK = 1024


@dataclass
class LowRank:
    """What the layers of a graph add: `matrix` [rows of all layers, rank], of each layer first its down projection
    transposed, [inputs, rank], then its up projection [outputs, rank]; `gate` [rows, rank], how much each column counts
    in a row. Both are set before each evaluation."""

    matrix: Tensor | None = None
    gate: Tensor | None = None

    def of(self, states: Tensor, start: int, inputs: int, outputs: int) -> Tensor:
        """What a layer adds for states [rows, ..., inputs] (Hu et al., "LoRA", arXiv:2106.09685, section 4.1)."""
        assert self.matrix is not None
        assert self.gate is not None
        matrix, gate = self.matrix.to(states.dtype), self.gate.to(states.dtype)
        down, up = matrix[start : start + inputs], matrix[start + inputs : start + inputs + outputs]
        gate = gate.view(gate.shape[0], *[1] * (states.dim() - 2), -1)
        return ((states @ down) * gate) @ up.T


class WithLora(nn.Module):
    """A linear layer, or a convolution of one pixel, and what LoRAs add to it."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, low_rank: LowRank, start: int) -> None:
        super().__init__()
        self.layer = layer
        self._low_rank = [low_rank]
        self._place = (start, *sizes(layer))

    def forward(self, states: Tensor) -> Tensor:
        """The layer's output with the LoRAs'."""
        output: Tensor = self.layer(states)
        if isinstance(self.layer, nn.Linear):
            return output + self._low_rank[0].of(states, *self._place)
        added = self._low_rank[0].of(states.permute(0, 2, 3, 1), *self._place)
        return output + added.permute(0, 3, 1, 2)


class LoraInputs(nn.Module):
    """A module with a flat signature whose `model` adds LoRAs: takes `lora` and `lora_gate` after its own inputs.

    `layers` say where in `lora` those of each layer lie.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        assert isinstance(module.model, nn.Module)
        self._low_rank, self.layers = add_lora(module.model)

    @property
    def widened(self) -> bool:
        """Whether the module computes in float32 whatever its weights are, see `streamed.in_float32`."""
        return bool(self.module.widened)

    @widened.setter
    def widened(self, value: bool) -> None:
        self.module.widened = value  # type: ignore[assignment]

    def forward(self, *others: Tensor) -> tuple[Tensor, ...]:
        """What the module gives with the LoRAs of each row."""
        self._low_rank.matrix, self._low_rank.gate = others[-2:]
        outputs: tuple[Tensor, ...] = self.module(*others[:-2])
        return outputs


def sizes(layer: nn.Linear | nn.Conv2d) -> tuple[int, int]:
    """The inputs and outputs of a layer."""
    return layer.weight.shape[1], layer.weight.shape[0]


def takes_lora(module: nn.Module) -> bool:
    """Whether LoRAs can be added to a layer: a linear one, or a convolution of one pixel."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def add_lora(model: nn.Module) -> tuple[LowRank, list[LowRankLayer]]:
    """Have a model's layers add LoRAs; gives what they add, to be set before each evaluation, and where each layer's
    matrices lie."""
    low_rank, layers, start = LowRank(), [], 0
    for name, parent, child, layer in list(layers_of(model)):
        if not takes_lora(layer):
            continue
        inputs, outputs = sizes(layer)
        own, first = original(name, parent, child, outputs)
        setattr(parent, child, WithLora(layer, low_rank, start))
        layers.append(LowRankLayer(own, start, inputs, outputs, first))
        start += inputs + outputs
    return low_rank, layers


def layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Linear | nn.Conv2d]]:
    """The linear layers and convolutions of a model: each one's name, its parent and its name there."""
    for path, parent in model.named_modules():
        for child, layer in parent.named_children():
            if isinstance(layer, (nn.Linear, nn.Conv2d)):
                yield f"{path}.{child}".lstrip("."), parent, child, layer


def original(name: str, parent: nn.Module, child: str, outputs: int) -> tuple[str, int]:
    """The layer's name in diffusers' model, and the first of its outputs there: GEGLU's one is two here."""
    if not isinstance(parent, Geglu):
        return name, 0
    path = name.removesuffix(f".{child}")
    return f"{path}.proj", 0 if child == "hidden" else outputs
