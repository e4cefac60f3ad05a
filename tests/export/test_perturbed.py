"""Guidance by perturbed attention: diffusers' picture, and not a bit altered where it is off."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch

from overpaint.engines.compare import psnr
from overpaint.errors import InputError
from overpaint.export import export_bundle
from overpaint.export.bundle import open_checkpoint, parts
from overpaint.export.checkpoints.load import supported
from tests.support.checkpoints import tiny_checkpoint
from tests.support.families import PHOTO, SMALL, xl_checkpoint
from tests.support.torch_engine import torch_pipeline


@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_a_picture_is_diffusers_picture(checkpoint: Path, tmp_path: Path, guidance: float) -> None:
    kind = diffusers.StableDiffusionPAGImg2ImgPipeline
    theirs = kind.from_pretrained(checkpoint, pag_applied_layers="mid", safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    call = {"negative_prompt": "a dog", "strength": 0.8, "num_inference_steps": 8, "guidance_scale": guidance}
    generator = torch.Generator().manual_seed(3)
    wanted = theirs("a red fox", image=PHOTO, generator=generator, pag_scale=20.0, **call).images[0]
    pipe = torch_pipeline(checkpoint, tmp_path / "bundle", ("perturbed",))
    settings = {"seed": 3, "convention": "diffusers", **call}
    made = pipe(PHOTO, "a red fox", pag_scale=20.0, **settings).images[0]
    plain = pipe(PHOTO, "a red fox", **settings).images[0]
    print(f"{psnr(made, wanted):.1f} dB, without it {psnr(plain, wanted):.1f}")
    assert psnr(made, wanted) >= 50
    assert psnr(plain, wanted) < 45


def test_off_alters_no_bit(checkpoint: Path) -> None:
    source = supported(open_checkpoint(checkpoint))
    (plain,), (gated,) = (
        [part for part in parts(source, 77, adapters) if part.component.name == "unet"]
        for adapters in ((), ("perturbed",))
    )
    feeds = [torch.from_numpy(array) for array in plain.component.feeds(plain.component.checked[1], 1).values()]
    with torch.no_grad():
        wanted, module = plain.build()(*feeds)[0], gated.build()
        assert torch.equal(module(*feeds, torch.zeros(3))[0], wanted)
        one = module(*feeds, torch.tensor([0.0, 1.0, 0.0]))[0]
    assert torch.equal(one[[0, 2]], wanted[[0, 2]])
    assert not torch.allclose(one[1], wanted[1], atol=1e-4)


def test_a_middle_without_attention_is_refused(tmp_path: Path) -> None:
    checkpoint = xl_checkpoint(tmp_path / "checkpoint", **SMALL)
    with pytest.raises(InputError, match="has no attention to leave out"):
        export_bundle(checkpoint, tmp_path / "bundle", adapters=("perturbed",))


@pytest.mark.slow
def test_the_graph_is_torchs(tmp_path: Path) -> None:
    made = export_bundle(tiny_checkpoint(tmp_path / "checkpoint"), tmp_path / "bundle", adapters=("perturbed",))
    graph = made.graphs["unet"]
    assert graph.inputs[-1].name == "perturbed"
    assert all(check.error < 1e-4 for check in graph.receipt.checks)
