"""The shallow graph of DeepCache: with the features that the whole one gives it gives the same output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import overpaint
from overpaint.bundles.graph import DEEP_FEATURES
from overpaint.engines.compare import psnr
from overpaint.errors import InputError
from overpaint.export import export_bundle
from overpaint.export.bundle import open_checkpoint, parts
from overpaint.export.checkpoints.load import supported
from overpaint.export.deep_cache import deep_channels
from overpaint.export.freeu import FreeU
from tests.support.checkpoints import tiny_checkpoint
from tests.support.families import PHOTO, xl_checkpoint
from tests.support.torch_engine import torch_pipeline

PLAIN = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
SMALL = {
    "block_out_channels": (16, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...], FreeU | None]] = {
    "one layer": ({}, (), None),
    "two layers": ({"layers_per_block": 2}, (), None),
    "a first level without attention": (PLAIN, ("control", "image"), None),
    "adapters": ({"layers_per_block": 2}, ("control", "image"), None),
    "FreeU in both levels": (SMALL, (), FreeU((1.4, 1.6), (0.9, 0.2))),
}


def modules(checkpoint: Path, adapters: tuple[str, ...] = (), freeu: FreeU | None = None) -> dict[str, Any]:
    source = supported(open_checkpoint(checkpoint))
    return {part.component.name: part for part in parts(source, 77, adapters, freeu=freeu, deep_cache=True)}


def compare(checkpoint: Path, adapters: tuple[str, ...], freeu: FreeU | None = None) -> None:
    own = modules(checkpoint, adapters, freeu)
    whole, shallow = own["unet"], own["unet_shallow"]
    unet, rest = whole.build(), shallow.build()
    for seed, lengths in enumerate(whole.component.checked):
        feeds = {name: torch.from_numpy(array) for name, array in whole.component.feeds(lengths, seed).items()}
        with torch.no_grad():
            output, features = unet(*feeds.values())
            given = {**feeds, DEEP_FEATURES: features}
            (again,) = rest(*(given[spec.name] for spec in shallow.component.inputs))
        assert features.shape[1:] == (deep_channels(unet.model.config), *output.shape[2:])
        assert torch.equal(output, again)


@pytest.mark.parametrize("case", CASES)
def test_with_its_own_features_the_output_is_the_same(tmp_path: Path, case: str) -> None:
    config, adapters, freeu = CASES[case]
    compare(tiny_checkpoint(tmp_path / "checkpoint", seed=1, **config), adapters, freeu)


def test_of_sdxl(tmp_path: Path) -> None:
    compare(xl_checkpoint(tmp_path / "checkpoint"), ("control",))


def test_the_whole_graph_gives_what_it_gives_without(checkpoint: Path) -> None:
    source = supported(open_checkpoint(checkpoint))
    (plain,) = (part for part in parts(source, 77) if part.component.name == "unet")
    whole = modules(checkpoint)["unet"]
    feeds = [torch.from_numpy(array) for array in plain.component.feeds(plain.component.checked[0], 1).values()]
    with torch.no_grad():
        assert torch.equal(plain.build()(*feeds)[0], whole.build()(*feeds)[0])


def test_a_u_net_of_one_level_is_refused() -> None:
    config = {"block_out_channels": (8,), "layers_per_block": 1, "down_block_types": ("DownBlock2D",)}
    with pytest.raises(InputError, match="leave out deep_cache"):
        deep_channels(config)


@pytest.mark.slow
def test_graphs_of_both_engines(checkpoint: Path, tmp_path: Path) -> None:
    """Exported and held against torch; on each engine, near the picture without, and as torch makes it."""
    made = export_bundle(checkpoint, tmp_path / "bundle", deep_cache=True)
    assert all(check.error < 1e-4 for check in made.graphs["unet_shallow"].receipt.checks)
    assert made.graphs["unet_shallow"].size < made.graphs["unet"].size / 3
    options = {"seed": 3, "steps": 12, "strength": 0.9}
    theirs = torch_pipeline(checkpoint, tmp_path / "torch", deep_cache=True)
    wanted = theirs(PHOTO, "a fox", cache="deep:2", **options).images[0]
    for engine in ("onnxruntime", "openvino"):
        pipe = overpaint.load(made.folder, engine=engine, precision="float32")
        cached = pipe(PHOTO, "a fox", cache="deep:2", **options).images[0]
        plain = pipe(PHOTO, "a fox", **options).images[0]
        print(f"{engine}: {psnr(cached, wanted):.1f} dB to torch, {psnr(cached, plain):.1f} dB to the picture without")
        assert psnr(cached, wanted) >= 50
        assert psnr(cached, plain) > 15
