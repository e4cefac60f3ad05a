"""Graphs that take LoRAs against the model with their weights merged in torch, three rows of different ones a call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.numpy import save_file
from torch import nn
from transformers import CLIPTextModel

import overpaint
from overpaint.bundles.tensor import Array
from overpaint.engines.compare import relative_error
from overpaint.export import export_bundle
from overpaint.loras.weights import LoraUse
from overpaint.runtime.denoising.rows import Row
from tests.support.checkpoints import tiny_checkpoint

# The export of graphs with LoRAs takes two minutes of two cores.
pytestmark = pytest.mark.slow
SMALL: dict[str, Any] = {
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
ALPHA = 2.0
RANKS = {"a": 4, "b": 7}
USES: list[dict[str, float]] = [{}, {"a": 0.8}, {"a": 0.5, "b": -1.2}]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of two levels, its bundle, and two LoRAs of all layers that take any."""
    folder = tmp_path_factory.mktemp("lora")
    checkpoint = tiny_checkpoint(folder / "checkpoint", seed=1, text={"num_hidden_layers": 2}, **SMALL)
    export_bundle(checkpoint, folder / "bundle", adapters=(), lora=True)
    (folder / "loras").mkdir()
    for seed, name in enumerate(RANKS):
        save_file(tensors(checkpoint, name, seed), folder / "loras" / f"{name}.safetensors")
    return folder


def modules(checkpoint: Path) -> dict[str, nn.Module]:
    """The parts that take LoRAs, by what kohya's names of theirs begin with."""
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    return {"lora_unet_": unet, "lora_te_text_model_": CLIPTextModel.from_pretrained(checkpoint / "text_encoder")}


def taking(module: nn.Module) -> dict[str, Any]:
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))
    }


def tensors(checkpoint: Path, name: str, seed: int) -> dict[str, Array]:
    random, made = np.random.default_rng(seed), {}
    for prefix, module in modules(checkpoint).items():
        for layer, own in taking(module).items():
            outputs, inputs, *pixel = own.weight.shape
            key = prefix + layer.removeprefix("text_model.").replace(".", "_")
            for factor, shape in {"down": (RANKS[name], inputs), "up": (outputs, RANKS[name])}.items():
                drawn = 0.25 * random.standard_normal((*shape, *pixel))
                made[f"{key}.lora_{factor}.weight"] = drawn.astype(np.float32)
            made[f"{key}.alpha"] = np.array(ALPHA, np.float32)
    return made


def merged(small: Path, prefix: str, use: Mapping[str, float]) -> Any:
    """A part with weights W + strength · alpha / rank · up · down (Hu et al., arXiv:2106.09685, section 4.1)."""
    from safetensors.torch import load_file

    module = modules(small / "checkpoint")[prefix]
    for name, strength in use.items():
        lora = load_file(small / "loras" / f"{name}.safetensors")
        for layer, own in taking(module).items():
            key = prefix + layer.removeprefix("text_model.").replace(".", "_")
            down, up = (lora[f"{key}.lora_{factor}.weight"].flatten(1) for factor in ("down", "up"))
            own.weight.data += strength * ALPHA / RANKS[name] * (up @ down).view_as(own.weight)
    return module


def normal(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


ENGINES = [
    ("onnxruntime", {}),
    ("openvino", {"precision": "float32", "shapes": "dynamic"}),
    ("openvino", {"precision": "float32", "shapes": "static"}),
]


@pytest.fixture(scope="module")
def expected(small: Path) -> list[Array]:
    """The U-Net's outputs with the LoRAs of `USES`."""
    sample, states = torch.from_numpy(normal(3, 4, 16, 16)), torch.from_numpy(normal(3, 77, 32))
    made = []
    for row, use in enumerate(USES):
        unet = merged(small, "lora_unet_", use)
        with torch.no_grad():
            made.append(unet(sample[row : row + 1], torch.tensor([500.0]), states[row : row + 1]).sample[0].numpy())
    return made


@pytest.mark.parametrize(("engine", "options"), ENGINES, ids=["onnxruntime", "dynamic", "static"])
def test_rows_of_different_loras_share_a_call(
    small: Path, expected: list[Array], engine: str, options: dict[str, Any]
) -> None:
    pytest.importorskip(engine)
    pipe = overpaint.load(small / "bundle", engine=engine, loras=small / "loras", **options)
    sample, states = normal(3, 4, 16, 16), normal(3, 77, 32)
    matrices = {name: used.denoiser for name in RANKS if (used := pipe.model.loras.use(LoraUse(name)))}

    def row(place: int, use: Mapping[str, float]) -> Row:
        inputs = {
            "sample": sample[place],
            "timestep": np.full(1, 500, np.float32),
            "encoder_hidden_states": states[place],
        }
        # A weight of 0 keeps the row without one in the call.
        low_rank = [fitted.low_rank(use.get(name, 0.0), "cpu") for name, fitted in matrices.items() if fitted]
        return Row(inputs, low_rank=low_rank)

    made = [outputs["model_output"] for outputs in pipe.denoiser([row(*pair) for pair in enumerate(USES)])]
    for one, other in zip(made, expected, strict=True):
        assert relative_error(one, other) < 1e-5
    assert relative_error(made[1], expected[0]) > 0.1
    first, other, again = (
        pipe.denoiser([row(1, use)])[0]["model_output"] for use in ({"a": 1.0}, {"b": 1.0}, {"a": 1.0})
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_text_encoders_take_loras(small: Path) -> None:
    pipe = overpaint.load(small / "bundle", engine="onnxruntime", loras=small / "loras")
    used = pipe.model.loras.use(LoraUse("a"))
    assert used is not None
    assert used.encoders[0] is not None
    hidden, _ = pipe.text.encode("a red fox", low_rank=(used.encoders[0].low_rank(0.8, "cpu"),))
    ids = torch.from_numpy(pipe.text.tokens("a red fox"))
    for use, far in (({"a": 0.8}, False), ({}, True)):
        with torch.no_grad():
            states = merged(small, "lora_te_text_model_", use)(ids).last_hidden_state[0].numpy()
        assert (relative_error(hidden, states) > 1e-2) == far
        assert far or relative_error(hidden, states) < 1e-5


def test_a_picture_has_them_and_a_picture_beside_it_does_not(small: Path) -> None:
    pipe = overpaint.load(small / "bundle", engine="onnxruntime", loras=small / "loras")
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    options: dict[str, Any] = {"steps": 4, "strength": 0.6}
    plain = pipe(picture, "a fox", seed=1, **options).images[0]
    ink = pipe(picture, "a fox<lora:a:0.8>", seed=1, **options).images[0]
    together = pipe([picture] * 2, ["a fox", "a fox<lora:a:0.8>"], seed=[1, 1], **options).images
    distances = [
        [np.abs(np.asarray(one, float) - np.asarray(other, float)).mean() for other in (plain, ink)] for one in together
    ]
    assert distances[0][0] < 1 < distances[0][1]
    assert distances[1][1] < 1 < distances[1][0]
