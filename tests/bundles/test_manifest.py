"""Every way a bundle can be wrong is named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import overpaint
from overpaint import BundleError, EngineError, InputError
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import TensorSpec
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.runtime.model.load import find
from tests.support.bundles import edit_manifest


@pytest.fixture
def folder(fake_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fake_folder, tmp_path / "bundle"))


def manifest(folder: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((folder / "bundle.json").read_text())
    return record


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    before = Bundle.read(folder)
    before.write_manifest()
    assert Bundle.read(folder) == before


@pytest.mark.parametrize("version", [1, 2, 3])
def test_older_formats_are_read_with_roles_and_one_encoder(folder: Path, version: int) -> None:
    record, now = manifest(folder), Bundle.read(folder)
    model, graphs = record["model"], record["graphs"]
    assert isinstance(model, dict)
    assert isinstance(graphs, dict)
    for graph in graphs.values():
        del graph["role"], graph["adapters"]
    (encoder,) = model.pop("encoders")
    newer = {2: ("conditioning_channels",), 3: ("default_schedule", "defaults")}
    for name in (name for since, names in newer.items() if since > version for name in names):
        del model[name]
    edit_manifest(folder, format=version, model=model, graphs=graphs, tokenizer=encoder["tokenizer"])
    assert Bundle.read(folder) == now
    now.write_manifest()
    assert manifest(folder)["format"] == 5
    assert Bundle.read(folder) == now


def test_graphs_by_role(folder: Path) -> None:
    bundle = Bundle.read(folder)
    assert bundle.name_of("denoiser") == "unet"
    assert bundle.by_role("denoiser") is bundle.graph("unet")
    with pytest.raises(BundleError, match=r"no graph of the role 'upscaler', only .*unet \(denoiser\)"):
        bundle.by_role("upscaler")
    twice = replace(bundle, graphs={**bundle.graphs, "refiner": bundle.graph("unet")})
    with pytest.raises(BundleError, match="2 graphs of the role 'denoiser', unet, refiner"):
        twice.name_of("denoiser")
    assert "unet: denoiser, " in bundle.describe()


def test_graphs_of_any_name_make_the_same_picture(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    record = manifest(other)
    model, graphs = record["model"], record["graphs"]
    assert isinstance(model, dict)
    assert isinstance(graphs, dict)
    model["encoders"][0]["graph"] = "x_text_encoder"
    edit_manifest(other, model=model, graphs={f"x_{name}": graph for name, graph in reversed(graphs.items())})
    made = []
    for path in (folder, other):
        with overpaint.load(path, engine="fake") as pipe:
            result = pipe(np.zeros((64, 64, 3), np.uint8), "a b", seed=1, steps=4, strength=0.5)
            made.append((np.asarray(result.images[0]).tobytes(), sorted(result.engines)))
    assert made[0][0] == made[1][0]
    assert made[1][1] == [f"x_{name}" for name in made[0][1]]


def test_an_unknown_role_is_kept_and_no_denoiser(folder: Path) -> None:
    bundle = Bundle.read(folder)
    strange = replace(bundle.graph("vae_encoder"), role="oracle")
    replace(bundle, graphs={**bundle.graphs, "strange": strange}).write_manifest()
    read = Bundle.read(folder)
    assert read.graph("strange").role == "oracle"
    assert read.name_of("denoiser") == "unet"
    overpaint.load(folder, engine="fake").close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"graph": "second"}, "'second'"),
        ({"hidden": "states"}, r"gives \['embeddings'\], not states"),
        ({"hidden": None}, "gives"),
        ({"names": []}, "names"),
        (None, "no text encoder"),
    ],
)
def test_encoders_that_are_not_among_the_graphs(folder: Path, changes: dict[str, object] | None, reason: str) -> None:
    model = manifest(folder)["model"]
    assert isinstance(model, dict)
    model["encoders"] = [] if changes is None else [{**model["encoders"][0], **changes}]
    edit_manifest(folder, model=model)
    with pytest.raises(BundleError, match=reason):
        Bundle.read(folder)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        Bundle.read(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        Bundle.read(tmp_path)


def test_a_missing_file(folder: Path) -> None:
    (folder / "unet.onnx").unlink()
    with pytest.raises(BundleError, match=r"unet\.onnx: is missing"):
        Bundle.read(folder)


def test_an_altered_file(folder: Path) -> None:
    content = (folder / "unet.onnx").read_bytes()
    (folder / "unet.onnx").write_bytes(content[::-1])
    with pytest.raises(BundleError, match=r"unet\.onnx: is altered .*SHA-256"):
        Bundle.read(folder)
    assert Bundle.read(folder, verify=False)


def test_a_truncated_file_is_seen_without_hashing(folder: Path) -> None:
    (folder / "unet.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is altered"):
        Bundle.read(folder, verify=False)


def test_a_newer_format(folder: Path) -> None:
    edit_manifest(folder, format=99)
    with pytest.raises(BundleError, match="format 99 is newer"):
        Bundle.read(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "1"}', '{"format": 1}', '{"format": 1, "model": 3}'])
def test_a_garbled_manifest(folder: Path, text: str) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.read(folder)


@pytest.mark.parametrize("path", ["../unet.onnx", "/etc/passwd"])
def test_a_path_out_of_the_bundle(folder: Path, path: str) -> None:
    graphs = manifest(folder)["graphs"]
    assert isinstance(graphs, dict)
    graphs["unet"]["file"]["path"] = path
    edit_manifest(folder, graphs=graphs)
    with pytest.raises(BundleError, match="outside the bundle"):
        Bundle.read(folder)


def test_a_missing_graph(folder: Path) -> None:
    graphs = manifest(folder)["graphs"]
    assert isinstance(graphs, dict)
    del graphs["vae_encoder"]
    edit_manifest(folder, graphs=graphs)
    with pytest.raises(BundleError, match="no graph of the role 'vae_encoder'"):
        overpaint.load(folder, engine="fake")


def test_a_graph_whose_inputs_do_not_fit(folder: Path) -> None:
    graphs = manifest(folder)["graphs"]
    assert isinstance(graphs, dict)
    graphs["unet"]["inputs"][0]["name"] = "latents"
    edit_manifest(folder, graphs=graphs)
    with pytest.raises(BundleError, match=r"'unet' takes .*latents"):
        overpaint.load(folder, engine="fake")


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="unknown model 'tinny'"):
        overpaint.load("tinny")
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        overpaint.load("tiny", engine="onnxruntim")


def test_an_unreadable_graph(folder: Path) -> None:
    bundle = Bundle.read(folder)
    with pytest.raises(EngineError, match="unet: cannot load the graph"):
        open_engine("onnxruntime", "unet", bundle.graph("unet"), folder, EngineOptions())


def test_a_graph_that_is_not_what_the_manifest_says() -> None:
    bundle = Bundle.read(find("tiny"))
    graph = replace(bundle.graph("vae_decoder"), inputs=(TensorSpec("latents", "float16", ("rows", 4, "h", "w")),))
    with pytest.raises(BundleError, match=r"inputs are .*float32.* the manifest says .*float16"):
        open_engine("onnxruntime", "vae_decoder", graph, bundle.folder, EngineOptions())


def test_another_device(folder: Path) -> None:
    bundle = Bundle.read(folder)
    with pytest.raises(InputError, match="unknown device of onnxruntime 'cudas'; did you mean 'cuda'"):
        open_engine("onnxruntime", "unet", bundle.graph("unet"), folder, EngineOptions(device="cudas"))


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({}, "no value for latents"),
        ({"latents": np.zeros((1, 4, 8, 8), np.float32), "more": np.zeros(1)}, "no input called more"),
        ({"latents": np.zeros((1, 4, 8, 8))}, "latents is float64"),
        ({"latents": np.zeros((1, 3, 8, 8), np.float32)}, r"latents has shape \[1, 3, 8, 8\]"),
        ({"latents": np.zeros((4, 8, 8), np.float32)}, r"latents has shape \[4, 8, 8\]"),
    ],
)
def test_feeds_that_do_not_fit(folder: Path, feeds: dict[str, np.ndarray], reason: str) -> None:
    graph = Bundle.read(folder).graph("vae_decoder")
    engine = open_engine("fake", "vae_decoder", graph, folder, EngineOptions())
    with pytest.raises(EngineError, match=reason):
        engine(feeds)
