"""Parts of many weights: run in float32 layer by layer, captured with weights of no memory, and stored as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from overpaint.bundles.graph import DENOISER, Range
from overpaint.bundles.tensor import TensorSpec
from overpaint.export.components import Component, normal
from overpaint.export.onnx import write_graph
from overpaint.export.streamed import in_float32, is_half, is_large
from overpaint.export.verify import compare, reference

COMPONENT = Component(
    "net", DENOISER, (TensorSpec("x", "float32", ("rows", 48)),), (TensorSpec("y", "float32", ("rows", 48)),),
    {"rows": Range(1, 2, 16)}, {"rows": 2}, ({"rows": 1}, {"rows": 3}, {"rows": 5}), {"x": normal},
)  # fmt: skip


class Net(nn.Module):
    """Two linear layers with weights of a dtype."""

    widened = False

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48)).to(dtype).requires_grad_(False)
        self.register_buffer("offset", torch.arange(48))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Through both, and the buffer added."""
        dtype = torch.float32 if self.widened else self.layers[0].weight.dtype
        return ((self.layers(x.to(dtype)) + self.offset.to(dtype) / 48).float(),)


def test_a_module_of_halves_computes_in_float32_and_has_its_weights_back() -> None:
    half, whole = Net(torch.float16), Net(torch.float16).float()
    own = half.layers[0].weight
    x = torch.randn(3, 48)
    with in_float32(half):
        assert torch.equal(half(x)[0], whole(x)[0])
    assert half.layers[0].weight is own
    assert not half.widened


@pytest.mark.parametrize(("precision", "weights"), [("float16", "float16"), ("float32", "float16"), ("float32",) * 2])
def test_a_streamed_graph_is_the_module(tmp_path: Path, precision: str, weights: str) -> None:
    net = Net(torch.float16).eval()
    with in_float32(net):
        expected = reference(net, COMPONENT)
    path = tmp_path / "net.onnx"
    write_graph(net, COMPONENT, path, opset=23, weights=weights, streamed=getattr(torch, precision))
    receipt = compare(path, COMPONENT, expected, precision, weights, lean=True)
    assert max(check.error for check in receipt.checks) < (2e-3 if precision == "float16" else 1e-6)
    assert path.stat().st_size < (1.6 if weights == "float16" else 2.6) * 2 * (2 * 48 * 96 + 144)


def test_which_parts_are_large() -> None:
    with torch.device("meta"):
        sd15, xl = (torch.empty(int(count)) for count in (0.86e9, 2.6e9))
    assert [is_large({"w": each}) for each in (sd15, sd15.half(), xl, xl.half())] == [False, True, True, True]
    assert is_half({"w": xl.half(), "ids": torch.arange(3)})
    assert not is_half({"w": xl})
