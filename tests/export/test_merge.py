"""LoRAs merged into a checkpoint, against the formulas written out, and what does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from overpaint import InputError
from overpaint.bundles.tensor import Array
from overpaint.export import bundle as stage
from overpaint.export.checkpoints.checkpoint import Checkpoint
from overpaint.export.checkpoints.load import supported
from overpaint.export.merge import read_use, with_loras
from tests.support import loras
from tests.support.checkpoints import tiny_checkpoint

TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CONV = "down_blocks.0.resnets.0.conv1"
GEGLU = "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"
TEXT = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return supported(stage.open_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("merge") / "checkpoint", seed=3)))


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def kohya(layer: str, **tensors: Array) -> dict[str, Array]:
    stem = "lora_unet_" + layer.replace(".", "_")
    return {f"{stem}.{name.replace('__', '.')}": tensor for name, tensor in tensors.items()}


def half(value: float) -> Array:
    return np.array(value, np.float32)


CASES: dict[str, tuple[str, dict[str, Array], Any]] = {
    "lora": (
        TO_K,
        {"lora_down__weight": drawn(1, 2, 32), "lora_up__weight": drawn(2, 16, 2), "alpha": half(1)},
        lambda t: t["lora_up__weight"] @ t["lora_down__weight"] / 2,
    ),
    "locon": (
        CONV,
        {"lora_down__weight": drawn(1, 2, 16, 3, 3), "lora_up__weight": drawn(2, 16, 2, 1, 1)},
        lambda t: np.einsum("or,rikl->oikl", t["lora_up__weight"][..., 0, 0], t["lora_down__weight"]),
    ),
    "loha": (
        TO_K,
        {
            "hada_w1_a": drawn(1, 16, 2), "hada_w1_b": drawn(2, 2, 32), "hada_w2_a": drawn(3, 16, 2),
            "hada_w2_b": drawn(4, 2, 32), "alpha": half(1),
        },
        lambda t: (t["hada_w1_a"] @ t["hada_w1_b"]) * (t["hada_w2_a"] @ t["hada_w2_b"]) / 2,
    ),
    "lokr": (
        TO_K,
        {"lokr_w1": drawn(1, 4, 4), "lokr_w2_a": drawn(2, 4, 2), "lokr_w2_b": drawn(3, 2, 8), "alpha": half(1)},
        lambda t: np.kron(t["lokr_w1"], t["lokr_w2_a"] @ t["lokr_w2_b"]) / 2,
    ),
    "full": (TO_K, {"diff": drawn(1, 16, 32)}, lambda t: t["diff"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_is_added(kind: str, source: Checkpoint, tmp_path: Path) -> None:
    layer, tensors, expected = CASES[kind]
    path = loras.write(tmp_path / "x.safetensors", kohya(layer, **tensors))
    before, after = source.state("unet"), with_loras(source, [f"{path}:0.5"]).state("unet")
    name = f"{layer}.weight"
    assert np.allclose(after[name].numpy(), before[name].numpy() + 0.5 * expected(tensors), atol=1e-5)
    assert all(torch.equal(before[other], after[other]) for other in before if other != name)


def test_a_linear_layer_of_convolutions_and_biases_and_text(source: Checkpoint, tmp_path: Path) -> None:
    text = f"lora_te_text_model_{TEXT.replace('.', '_')}"
    path = loras.write(
        tmp_path / "x.safetensors",
        loras.kohya(text, 32, 32) | kohya(CONV, diff_b=drawn(1, 16)) | kohya(TO_K, diff=drawn(2, 16, 32)),
    )
    made = with_loras(source, [f"{path}:0.5:2"])
    bias = source.state("unet")[f"{CONV}.bias"].numpy() + 2 * drawn(1, 16)
    assert np.allclose(made.state("unet")[f"{CONV}.bias"].numpy(), bias)
    name = next(name for name in source.state("text_encoder") if name.endswith(f"{TEXT}.weight"))
    down, up = loras.factors(32, 32)
    weight = source.state("text_encoder")[name].numpy() + 0.5 * up @ down / 2
    assert np.allclose(made.state("text_encoder")[name].numpy(), weight, atol=1e-5)
    assert "<lora:x:0.5:2> (" in made.origin["merged"]


def test_what_does_not_fit_is_refused(source: Checkpoint, tmp_path: Path) -> None:
    def refused(tensors: dict[str, Array]) -> str:
        path = loras.write(tmp_path / "bad.safetensors", tensors)
        with pytest.raises(InputError) as raised:
            with_loras(source, [str(path)]).state("unet")
        return str(raised.value)

    assert "belong to no layer" in refused(kohya("elsewhere", diff=drawn(1, 2, 2)))
    assert "does not fit" in refused(kohya(TO_K, diff=drawn(1, 2, 2)))
    assert "DoRA" in refused(kohya(TO_K, dora_scale=drawn(1, 16)))
    for text in ("x.pt:0.8", "x.safetensors:1:lbw=mid_block=0"):
        with pytest.raises(InputError, match="write FILE"):
            read_use(text)
