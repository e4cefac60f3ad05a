"""LoRA files in the namings that people have, brought into the layout of a graph, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from overpaint import InputError
from overpaint.bundles.graph import LowRankLayer
from overpaint.bundles.tensor import Array
from overpaint.loras.file import read_lora
from overpaint.loras.layers import original_name
from overpaint.loras.weights import LoraUse
from overpaint.runtime.conditioning.lora.fit import LoraLayers, check_lora, fit_denoiser, fit_encoder
from tests.support import loras
from tests.support.bundles import LORA_LAYERS


def layers(name: str) -> list[LowRankLayer]:
    made, start = [], 0
    for layer, inputs, outputs, first in LORA_LAYERS[name]:
        made.append(LowRankLayer(layer, start, inputs, outputs, first))
        start += inputs + outputs
    return made


ALL = LoraLayers(layers("unet"), [layers("text_encoder")])


def matrix(path: Path, blocks: str = "") -> Array:
    fitted = fit_denoiser(check_lora(read_lora(path), ALL), ALL.denoiser, LoraUse("x", blocks=blocks))
    assert fitted is not None
    return fitted.matrix


def named(style: str, name: str, inputs: int, outputs: int) -> dict[str, Array]:
    down, up = loras.factors(inputs, outputs)
    names = {
        "kohya": (
            f"lora_unet_{name.replace('.', '_')}.lora_down.weight",
            f"lora_unet_{name.replace('.', '_')}.lora_up.weight",
        ),
        "diffusers": (f"unet.{name}.lora.down.weight", f"unet.{name}.lora.up.weight"),
        "peft": (f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight"),
        "peft alone": (f"base_model.model.{name}.lora_A.weight", f"base_model.model.{name}.lora_B.weight"),
        "original": (
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k.lora_down.weight",
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k.lora_up.weight",
        ),
        "old diffusers": (
            f"unet.{name.replace('.to_k', '.processor.to_k')}_lora.down.weight",
            f"unet.{name.replace('.to_k', '.processor.to_k')}_lora.up.weight",
        ),
    }
    return dict(zip(names[style], (down, up), strict=True))


@pytest.mark.parametrize("style", ["kohya", "diffusers", "peft", "peft alone", "original", "old diffusers"])
def test_every_naming_gives_the_same_matrix(style: str, tmp_path: Path) -> None:
    made = matrix(loras.write(tmp_path / "x.safetensors", named(style, loras.TO_K, 8, 6)))
    down, up = loras.factors(8, 6)
    expected = np.zeros((42, 8), np.float32)
    expected[:8, :2], expected[8:14, :2] = down.T, up
    assert np.array_equal(made, expected)


def test_the_halves_of_geglu_and_alpha(tmp_path: Path) -> None:
    path = loras.write(
        tmp_path / "x.safetensors", loras.kohya("lora_unet_" + loras.GEGLU.replace(".", "_"), 6, 8, alpha=0.5)
    )
    made = matrix(path)
    down, up = loras.factors(6, 8)
    assert np.array_equal(made[14:20, :2], down.T)
    assert np.array_equal(made[24:30, :2], down.T)
    assert np.allclose(made[20:24, :2], up[:4] * 0.25)
    assert np.allclose(made[30:34, :2], up[4:] * 0.25)


def test_block_weights(tmp_path: Path) -> None:
    tensors = loras.unet() | loras.kohya("lora_unet_" + loras.TIME.replace(".", "_"), 5, 3)
    path = loras.write(tmp_path / "x.safetensors", tensors)
    plain = matrix(path)
    only = matrix(path, "down_blocks=0,down_blocks.0.attentions.0.transformer_blocks.0.ff=0.5")
    assert not only[:14].any()
    assert np.array_equal(only[20:24], plain[20:24] * np.float32(0.5))
    assert np.array_equal(only[34:], plain[34:])
    numbers = ["0"] * 26
    numbers[2] = "2"  # IN01
    by_number = matrix(path, ",".join(numbers))
    assert np.allclose(by_number[8:14], plain[8:14] * 2)
    assert not by_number[34:].any()


def test_text_encoders(tmp_path: Path) -> None:
    down, up = loras.factors(8, 8)
    for number, tensors in enumerate(
        [
            loras.text(),
            {
                f"text_encoder.{loras.TEXT}.lora_linear_layer.down.weight": down,
                f"text_encoder.{loras.TEXT}.lora_linear_layer.up.weight": up / 2,
            },
            {
                "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight": down,
                "text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.up.weight": up / 2,
            },
        ]
    ):
        lora = check_lora(read_lora(loras.write(tmp_path / f"{number}.safetensors", tensors)), ALL)
        fitted = fit_encoder(lora, 0, layers("text_encoder"))
        assert fitted is not None
        assert np.allclose(fitted.matrix[:, :2], np.concatenate([down.T, up / 2]))
        assert fit_denoiser(lora, ALL.denoiser, LoraUse("x")) is None


def test_dtypes_and_hashes(tmp_path: Path) -> None:
    path = loras.write(
        tmp_path / "x.safetensors", {name: tensor.astype(np.float16) for name, tensor in loras.unet().items()}
    )
    read = read_lora(path)
    assert {tensor.dtype for tensor in read.tensors.values()} == {np.dtype(np.float32)}
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert read.sha256 == hashlib.sha256(data).hexdigest()
    assert read.hash == hashlib.sha256(data[8 + length :]).hexdigest()
    other = read_lora(loras.write(tmp_path / "y.safetensors", dict(read.tensors), ss_output_name="y"))
    again = read_lora(loras.write(tmp_path / "z.safetensors", dict(read.tensors), ss_output_name="zz"))
    assert other.short_hash == again.short_hash
    assert other.sha256 != again.sha256


def test_peft_folders_have_their_alpha_beside(tmp_path: Path) -> None:
    folder = tmp_path / "ink"
    folder.mkdir()
    path = loras.write(folder / "adapter_model.safetensors", named("peft alone", loras.TO_K, 8, 6))
    with pytest.raises(InputError, match="adapter_config"):
        read_lora(path)
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 1, "r": 2}))
    assert read_lora(path).name == "ink"
    assert np.allclose(matrix(path)[8:14, :2], loras.factors(8, 6)[1] / 2)
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 1, "r": 2, "use_dora": True}))
    with pytest.raises(InputError, match="use_dora"):
        read_lora(path)


def refused(path: Path, tensors: dict[str, Array], partial: bool = False, **metadata: str) -> str:
    with pytest.raises(InputError) as raised:
        check_lora(read_lora(loras.write(path / "bad.safetensors", tensors, **metadata)), ALL, partial)
    assert raised.value.field == "loras"
    return str(raised.value)


def test_what_is_refused(tmp_path: Path) -> None:
    stem = "lora_unet_" + loras.TO_K.replace(".", "_")
    assert "for Stable Diffusion XL" in refused(tmp_path, loras.kohya(stem, 2048, 6))
    assert "says that it is for sd_v2" in refused(tmp_path, loras.kohya(stem, 8, 5), ss_base_model_version="sd_v2")
    loha = {f"{stem}.hada_w1_a": np.ones((2, 2), np.float32), f"{stem}.alpha": np.ones((), np.float32)}
    assert "LoHa (1 tensor)" in refused(tmp_path, loha)
    assert "--merge-lora" in refused(tmp_path, loha)
    conv = {
        f"{stem}_x.lora_down.weight": np.ones((2, 8, 3, 3), np.float32),
        f"{stem}_x.lora_up.weight": np.ones((6, 2, 1, 1), np.float32),
    }
    assert "LoCon" in refused(tmp_path, loras.unet() | conv)
    strange = loras.unet() | loras.kohya("lora_unet_elsewhere", 3, 3) | {"what": np.ones(1, np.float32)}
    said = refused(tmp_path, strange)
    assert "what" in said
    assert "lora_unet_elsewhere.alpha" in said
    assert "changes no layer" in refused(tmp_path, {"what": np.ones(1, np.float32)}, partial=True)
    partial = check_lora(read_lora(loras.write(tmp_path / "p.safetensors", strange)), ALL, True)
    assert len(partial.denoiser) == 2
    without = LoraLayers(ALL.denoiser, [None])
    with pytest.raises(InputError, match="changes the text encoder"):
        check_lora(read_lora(loras.write(tmp_path / "t.safetensors", loras.text())), without)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a pickle"):
        read_lora(tmp_path / "x.pt")
    with pytest.raises(InputError, match="cannot be read"):
        read_lora(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no \.safetensors"):
        read_lora(tmp_path / "x.safetensors")
    bad = {name: np.full_like(tensor, np.nan) for name, tensor in loras.unet().items()}
    with pytest.raises(InputError, match="NaN"):
        read_lora(loras.write(tmp_path / "nan.safetensors", bad))


def test_the_original_code_s_names() -> None:
    # Stable Diffusion 1 has two resnets a block on the way down; kohya's and A1111's tables have these.
    pairs = {
        "down_blocks.0.attentions.1.proj_in": "input_blocks_2_1_proj_in",
        "down_blocks.1.attentions.0.proj_out": "input_blocks_4_1_proj_out",
        "down_blocks.2.resnets.1.conv_shortcut": "input_blocks_8_0_skip_connection",
        "mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
        "mid_block.resnets.1.time_emb_proj": "middle_block_2_emb_layers_1",
        "up_blocks.1.attentions.2.proj_in": "output_blocks_5_1_proj_in",
        "up_blocks.3.attentions.2.proj_in": "output_blocks_11_1_proj_in",
        "time_embedding.linear_2": "time_embed_2",
        "conv_out": "out_2",
        "conv_norm_out": None,
    }
    assert {name: original_name(name, 2) for name in pairs} == pairs
