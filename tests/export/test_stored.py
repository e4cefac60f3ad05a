"""Where graphs keep their layers' weights, and LoRAs merged into them at load against torch and against the export."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnxscript import ir

import overpaint
from overpaint.bundles.manifest import Bundle
from overpaint.engines.compare import relative_error
from overpaint.export import bundle as stage
from overpaint.export.checkpoints.load import load_unet, supported
from overpaint.export.merge import with_loras
from overpaint.export.stored import stored_weights
from overpaint.loras.file import read_lora
from overpaint.loras.weights import LoraUse
from overpaint.runtime.conditioning.lora.merge import StoredLayers, merged_weights
from overpaint.runtime.denoising.rows import Row
from tests.export.test_merge import CASES, CONV, GEGLU, TEXT, TO_K, kohya
from tests.support import loras


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of a projection, a convolution, a GEGLU's one layer that is two here, and a text encoder."""
    text = f"lora_te_text_model_{TEXT.replace('.', '_')}"
    tensors = {
        **kohya(TO_K, **CASES["loha"][1]), **kohya(CONV, **CASES["locon"][1]),
        **loras.kohya(f"lora_unet_{GEGLU.replace('.', '_')}", 32, 256, seed=3), **loras.kohya(text, 32, 32, seed=4),
    }  # fmt: skip
    return loras.write(tmp_path_factory.mktemp("lora") / "x.safetensors", tensors)


def test_every_layer_is_found_with_its_weights(bundle: Bundle, checkpoint: Path) -> None:
    unet = load_unet(supported(stage.open_checkpoint(checkpoint)))
    wanted = {
        name: layer.weight.numpy()
        for name, layer in unet.named_modules()
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
    }
    seen: dict[str, list[tuple[int, np.ndarray]]] = {}
    for place in bundle.by_role("denoiser").stored:
        own = np.memmap(bundle.folder / place.file, place.dtype, "r", place.offset, place.shape)
        seen.setdefault(place.name, []).append((place.first, np.array(own.T if place.turned else own)))
    assert seen.keys() == wanted.keys()
    for name, parts in seen.items():
        assert np.array_equal(np.concatenate([own for _, own in sorted(parts, key=lambda one: one[0])]), wanted[name])


def test_equal_weights_within_a_graph_have_places_of_their_own(tmp_path: Path) -> None:
    weights = [ir.tensor(np.full((4, 4), value, np.float32), name=f"model.{value}{place}.weight")
               for place, value in enumerate((0, 1, 0, 1))]  # fmt: skip
    values = [ir.Value(name=each.name, const_value=each) for each in weights]
    graph = ir.Graph([], [], nodes=[], initializers=values, opset_imports={"": 23}, name="g")
    ir.save(ir.Model(graph, ir_version=10), tmp_path / "graph.onnx")
    stored = stored_weights(tmp_path / "graph.onnx", {str(each.name): (str(each.name), 0) for each in weights})
    assert [place.tensor for place in stored] == [each.name for each in weights]
    assert len({place.offset for place in stored}) == 4
    for place, each in zip(stored, weights, strict=True):
        assert np.array_equal(np.memmap(tmp_path / place.file, "f4", "r", place.offset, (4, 4)), each.numpy())


def test_the_weights_are_those_of_the_export_with_the_lora(bundle: Bundle, checkpoint: Path, lora: Path) -> None:
    source = with_loras(supported(stage.open_checkpoint(checkpoint)), [f"{lora}:0.5"])
    state = source.state("unet")
    unet, text = bundle.by_role("denoiser").stored, bundle.graphs["text_encoder"].stored
    denoiser, encoders = StoredLayers(unet, [text]).check(read_lora(lora), False).fit(LoraUse("x"))
    assert denoiser is not None
    assert encoders[0] is not None
    made = merged_weights(bundle.folder, unet, [denoiser.low_rank(0.5, "cpu")])  # type: ignore[list-item]
    assert len(made) == 4
    for place in unet:
        if place.tensor in made:
            own = made[place.tensor].T if place.turned else made[place.tensor]
            rows = slice(place.first, place.first + place.outputs)
            assert np.allclose(own, state[f"{place.name}.weight"].numpy()[rows], atol=1e-6)
    assert len(merged_weights(bundle.folder, text, [encoders[0].low_rank(0.5, "cpu")])) == 1  # type: ignore[list-item]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_rows_are_those_of_the_model_with_the_lora(engine: str, bundle: Bundle, checkpoint: Path, lora: Path) -> None:
    pipe = overpaint.load(
        bundle.folder, engine=engine, precision="float32", shapes="dynamic", loras=lora, lora_mode="merged"
    )
    rng = np.random.default_rng(0)
    inputs = {
        "sample": rng.standard_normal((4, 9, 11)).astype(np.float32),
        "timestep": np.array([500], np.float32),
        "encoder_hidden_states": rng.standard_normal((77, 32)).astype(np.float32),
    }
    uses: list[list[LoraUse]] = [[], [LoraUse("x", 0.5, 0.5)], [LoraUse("x", 1.0, 1.0)]]
    rows = [Row(inputs, low_rank=pipe.model.low_rank(use)) for use in uses]
    made = [outputs["model_output"] for outputs in pipe.denoiser(rows)]
    again = [outputs["model_output"] for outputs in pipe.denoiser(rows[::-1])][::-1]
    for one, other in zip(made, again, strict=True):
        assert np.array_equal(one, other)
    for strength, own in zip((None, 0.5, 1.0), made, strict=True):
        source = supported(stage.open_checkpoint(checkpoint))
        unet = load_unet(source if strength is None else with_loras(source, [f"{lora}:{strength}"]))
        with torch.no_grad():
            batched = (array if name == "timestep" else array[None] for name, array in inputs.items())
            wanted = unet(*map(torch.from_numpy, batched), return_dict=False)[0]
        assert relative_error(own, wanted[0].numpy()) < 1e-5
