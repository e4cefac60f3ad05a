"""Every graph of a bundle against diffusers and transformers as they are, without the export's own modules."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from overpaint.bundles.graph import Graph
from overpaint.bundles.manifest import Bundle
from overpaint.engines.compare import relative_error
from overpaint.export import bundle as stage
from overpaint.export.checkpoints.load import supported
from tests.support.checkpoints import tiny_checkpoint

onnxruntime = pytest.importorskip("onnxruntime")


def run(folder: Path, graph: Graph, **feeds: np.ndarray) -> Mapping[str, np.ndarray]:
    session = onnxruntime.InferenceSession(folder / graph.file.path, providers=["CPUExecutionProvider"])
    names = [output.name for output in graph.outputs]
    return dict(zip(names, session.run(names, feeds), strict=True))


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def export_one(checkpoint: Path, folder: Path, name: str, precision: str, weights: str) -> Graph:
    """Export a single graph, which takes a quarter of the time, and see that its weights are let go."""
    source = supported(stage.open_checkpoint(checkpoint))
    part = next(part for part in stage.parts(source, 77) if part.component.name == name)
    alive: list[weakref.ref[torch.nn.Parameter]] = []

    def build() -> torch.nn.Module:
        module = part.build()
        used = (parameter for key, parameter in module.named_parameters() if name.removeprefix("vae_") in key)
        alive.append(weakref.ref(next(used, next(module.parameters()))))
        return module

    graph = stage.export_graph(replace(part, build=build), folder, precision, weights, stage.OPSET, lambda _: None)
    assert [ref() for ref in alive] == [None]
    return graph


@pytest.mark.parametrize(
    ("rows", "height", "width", "tokens"),
    [(1, 16, 16, 77), (1, 4, 4, 77), (3, 13, 9, 154), (2, 5, 31, 77 * 3), (5, 8, 4, 77), (1, 17, 6, 77)],
)
def test_unet_at_any_size(checkpoint: Path, bundle: Bundle, rows: int, height: int, width: int, tokens: int) -> None:
    unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet")
    sample, states = normal(rows, 4, height, width), normal(rows, tokens, 32)
    timestep = np.linspace(999, 0.5, rows, dtype=np.float32)
    output = run(bundle.folder, bundle.graphs["unet"], sample=sample, timestep=timestep, encoder_hidden_states=states)[
        "model_output"
    ]
    with torch.no_grad():
        expected = unet(*map(torch.from_numpy, (sample, timestep, states))).sample.numpy()
    assert relative_error(output, expected) < 1e-4


def test_unet_rows_do_not_depend_on_each_other(bundle: Bundle) -> None:
    feeds = {"sample": normal(3, 4, 8, 8), "encoder_hidden_states": normal(3, 77, 32)}
    feeds["timestep"] = np.array([900, 500, 3], np.float32)
    together = run(bundle.folder, bundle.graphs["unet"], **feeds)["model_output"]
    for row in range(3):
        alone = run(bundle.folder, bundle.graphs["unet"], **{key: value[row : row + 1] for key, value in feeds.items()})
        assert relative_error(alone["model_output"][0], together[row]) < 1e-5


@pytest.mark.parametrize(("rows", "height", "width"), [(1, 64, 64), (2, 20, 52), (1, 8, 36), (3, 36, 12)])
def test_vae(checkpoint: Path, bundle: Bundle, rows: int, height: int, width: int) -> None:
    vae = AutoencoderKL.from_pretrained(checkpoint / "vae")
    pixels = np.clip(normal(rows, 3, height, width), -1, 1)
    encoded = run(bundle.folder, bundle.graphs["vae_encoder"], pixels=pixels)
    latents = normal(rows, 4, height // 4, width // 4)
    decoded = run(bundle.folder, bundle.graphs["vae_decoder"], latents=latents)["pixels"]
    with torch.no_grad():
        distribution = vae.encode(torch.from_numpy(pixels)).latent_dist
        expected = vae.decode(torch.from_numpy(latents)).sample.numpy()
    assert relative_error(encoded["mean"], distribution.mean.numpy()) < 1e-4
    assert relative_error(encoded["std"], distribution.std.numpy()) < 1e-4
    assert relative_error(decoded, expected) < 1e-4


@pytest.mark.parametrize("clip_skip", [None, 0, 1, 2])
def test_text_encoder_as_the_pipeline_encodes(
    checkpoint: Path, bundle: Bundle, clip_skip: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # transformers 5.6 took away the `text_model` that diffusers 0.42 looks for where clip_skip is given.
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda self: self), raising=False)
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint)
    prompts = ["a red fox on a hill", "ink painting of the castle at night", ""]
    ids = pipeline.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="np").input_ids
    unheeded = normal(*ids.shape, pipeline.text_encoder.config.hidden_size)
    feeds = {"input_ids": ids, "vectors": unheeded, "clip_skip": np.array(clip_skip or 0, np.int64)}
    outputs = run(bundle.folder, bundle.graphs["text_encoder"], **feeds)
    expected, _ = pipeline.encode_prompt(prompts, "cpu", 1, False, clip_skip=clip_skip)
    with torch.no_grad():
        pooled = pipeline.text_encoder(torch.from_numpy(ids)).pooler_output
    assert relative_error(outputs["embeddings"], expected.detach().numpy()) < 1e-4
    assert relative_error(outputs["pooled"], pooled.numpy()) < 1e-4


def test_half_weights_halve_the_file_and_keep_float32_arithmetic(bundle: Bundle, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "half", seed=2, dtype=torch.float16)
    graph = export_one(checkpoint, tmp_path, "vae_decoder", "float32", "float16")
    assert graph.size < 0.62 * bundle.graphs["vae_decoder"].size
    assert (graph.precision, graph.weights) == ("float32", "float16")
    assert "rounded to float16" in graph.receipt.source
    vae = AutoencoderKL.from_pretrained(checkpoint / "vae").float()
    latents = normal(2, 4, 6, 9)
    with torch.no_grad():
        expected = vae.decode(torch.from_numpy(latents)).sample.numpy()
    assert relative_error(run(tmp_path, graph, latents=latents)["pixels"], expected) < 1e-4


@pytest.mark.parametrize("name", ["text_encoder", "vae_encoder"])
def test_float16_graph_takes_and_gives_float32(checkpoint: Path, bundle: Bundle, tmp_path: Path, name: str) -> None:
    graph = export_one(checkpoint, tmp_path, name, "float16", "float16")
    session = onnxruntime.InferenceSession(tmp_path / graph.file.path, providers=["CPUExecutionProvider"])
    floats = [value.type for value in (*session.get_inputs(), *session.get_outputs()) if "int" not in value.type]
    assert set(floats) == {"tensor(float)"}
    assert graph.receipt.tolerance == 1e-2
    assert all(0 < check.error <= 1e-2 for check in graph.receipt.checks)
    assert graph.size < 0.62 * bundle.graphs[name].size


@pytest.fixture(scope="module")
def tiny_vae(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tiny-vae")
    return tiny_checkpoint(folder / "checkpoint", vae="tiny"), folder


def test_autoencoder_tiny(tiny_vae: tuple[Path, Path]) -> None:
    checkpoint, folder = tiny_vae
    vae = AutoencoderTiny.from_pretrained(checkpoint / "vae")
    encoder = export_one(checkpoint, folder, "vae_encoder", "float32", "float32")
    decoder = export_one(checkpoint, folder, "vae_decoder", "float32", "float32")
    pixels: Any = np.clip(normal(2, 3, 20, 36), -1, 1)
    outputs = run(folder, encoder, pixels=pixels)
    assert list(outputs) == ["mean"]
    with torch.no_grad():
        latents = vae.encode(torch.from_numpy(pixels)).latents
        expected = vae.decode(latents).sample
    assert relative_error(outputs["mean"], latents.numpy()) < 1e-4
    decoded = run(folder, decoder, latents=latents.numpy())["pixels"]
    assert relative_error(decoded, expected.numpy()) < 1e-4
