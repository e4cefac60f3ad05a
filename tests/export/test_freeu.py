"""FreeU baked into a U-Net: diffusers' own numbers, at even and odd sizes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from overpaint.errors import InputError
from overpaint.export import export_bundle
from overpaint.export.freeu import FreeU, bake, low_frequencies, parse_freeu
from tests.support.checkpoints import tiny_checkpoint, tiny_unet


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (5, 7)])
def test_the_low_frequencies_are_those_of_the_fourier_transform(size: tuple[int, int]) -> None:
    states = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    spectrum = torch.fft.fftn(states.double(), dim=(-2, -1))
    kept = torch.zeros_like(spectrum)
    for row in (0, -1):
        for column in (0, -1):
            kept[..., row, column] = spectrum[..., row, column]
    wanted = torch.fft.ifftn(kept, dim=(-2, -1)).real.float()
    assert torch.allclose(low_frequencies(states), wanted, atol=1e-5)


def test_a_baked_net_computes_as_diffusers_does() -> None:
    plain = tiny_unet().eval()
    baked, theirs = copy.deepcopy(plain), copy.deepcopy(plain)
    bake(baked, parse_freeu((1.5, 1.6, 0.9, 0.2)))
    theirs.enable_freeu(b1=1.5, b2=1.6, s1=0.9, s2=0.2)
    noise = torch.Generator().manual_seed(2)
    sample = torch.randn(2, plain.config.in_channels, 16, 24, generator=noise)
    text = torch.randn(2, 5, plain.config.cross_attention_dim, generator=noise)
    with torch.no_grad():
        made, wanted, other = (net(sample, 500, text).sample for net in (baked, theirs, plain))
    assert (made - wanted).norm() / wanted.norm() < 1e-5
    assert (other - wanted).norm() / wanted.norm() > 1e-3


def test_factors() -> None:
    assert parse_freeu((1.5, 1.6, 0.9, 0.2)) == FreeU((1.5, 1.6), (0.9, 0.2))
    assert str(FreeU((1.5, 1.6), (0.9, 0.2))) == "1.5,1.6,0.9,0.2"
    for wrong in ((1.0,), (1.0, 1.0, 1.0, -1.0), (1.0, 1.0, 1.0, float("nan")), (9.0, 1.0, 1.0, 1.0)):
        with pytest.raises(InputError, match="b1,b2,s1,s2"):
            parse_freeu(wrong)


def test_a_net_without_two_up_blocks_is_refused() -> None:
    net = tiny_unet()
    net.up_blocks = net.up_blocks[:1]
    with pytest.raises(InputError, match="one; leave it out"):
        bake(net, FreeU((1.0, 1.0), (1.0, 1.0)))


@pytest.mark.slow
def test_a_bundle_is_exported_with_it(tmp_path: Path) -> None:
    """The graph is compared with torch as every one is; the manifest says what is baked in."""
    source = tiny_checkpoint(tmp_path / "source", seed=1)
    bundle = export_bundle(source, tmp_path / "bundle", adapters=(), freeu=(1.5, 1.6, 0.9, 0.2))
    assert bundle.model.origin["freeu"] == "1.5,1.6,0.9,0.2"
    assert max(check.error for check in bundle.graph("unet").receipt.checks) < 1e-5
