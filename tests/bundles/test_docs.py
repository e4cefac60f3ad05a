"""The page on the bundle's format names every field that there is."""

from dataclasses import fields
from pathlib import Path

import pytest

import overpaint
from overpaint.bundles.facts import EncoderFacts, ModelFacts, Tokenizer
from overpaint.bundles.format import FORMAT
from overpaint.bundles.graph import DENOISER, TEXT_ENCODER, UPSCALER, VAE_DECODER, VAE_ENCODER, File, Graph, Receipt
from overpaint.bundles.upscaler import UpscalerFacts

PAGE = (Path(overpaint.__file__).parent / "docs/bundle-format.md").read_text()


@pytest.mark.parametrize("kind", [ModelFacts, EncoderFacts, Tokenizer, Graph, File, Receipt, UpscalerFacts])
def test_every_field_is_named(kind: type) -> None:
    assert [field.name for field in fields(kind) if f"`{field.name}`" not in PAGE] == []


def test_every_role_and_format_is_named() -> None:
    roles = (DENOISER, TEXT_ENCODER, VAE_ENCODER, VAE_DECODER, UPSCALER)
    assert [role for role in roles if f"`{role}`" not in PAGE] == []
    assert f"| {FORMAT} |" in PAGE
