"""A checkpoint becomes a bundle: every graph exported and verified, and the whole published in one step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from diffusers import UNet2DConditionModel

from ..bundles.facts import EncoderFacts, Tokenizer, parse_defaults
from ..bundles.graph import DENOISER, TEXT_ENCODER, File, Graph
from ..bundles.manifest import Bundle
from ..engines.memory import unloading
from ..errors import InputError, unknown
from ..version import __version__
from . import components, wrappers
from .adapter_inputs import with_control, with_image_prompts, with_lora, with_perturbed
from .adapters import CONTROL, IMAGE, PERTURBED, image_width, residuals
from .checkpoints.checkpoint import PICKLES, SECOND, TOKENIZERS, Checkpoint, open_folder, refuse_pickle
from .checkpoints.distilled import distilled as by_method
from .checkpoints.facts import downscale, model_facts
from .checkpoints.load import load_text_encoder, load_unet, load_vae, round_to_half, supported, surplus
from .checkpoints.single_file import open_single_file
from .checkpoints.tokenizer import write_tokenizer
from .checkpoints.vaes import with_vae
from .components import Component
from .deep_cache import CachingUNet, ShallowUNet, caching, shallow
from .freeu import FreeU, bake, parse_freeu
from .lora import LoraInputs
from .merge import with_loras
from .onnx import write_graph
from .publish import check_space, publish, remove_stale
from .shared_data import share_data
from .stored import layer_names, stored_weights
from .streamed import in_float32, is_half, is_large
from .verify import LIBRARIES, compare, reference

Precision = Literal["float32", "float16"]
Report = Callable[[str], None]

PRECISIONS = ("float32", "float16")
# What the manifest holds under "origin" that is worth a line of the export's report.
NOTES = {
    "prediction": "predicts",
    "variants": "weights: these variants are exported",
    "ignored weights": "weights: these are of no use here, and ignored",
    "not followed": "scheduler: settings that are not followed",
}
# The first opset whose attention is one operator: less memory, and faster, than its parts.
OPSET = 23
OPSETS = range(18, 24)
# The graphs that LoRAs can be merged into when they are opened.
MERGEABLE = (DENOISER, TEXT_ENCODER)
ADAPTERS = (CONTROL, IMAGE, PERTURBED)
"""The kinds of adapters that a denoiser can take: ControlNets, image prompts, and guidance by perturbed attention."""


@dataclass(frozen=True)
class Part:
    """One graph to export: its specification, what builds its module from the checkpoint, and whose code that runs."""

    component: Component
    build: Callable[[], torch.nn.Module]
    libraries: Sequence[ModuleType] = LIBRARIES
    streamed: bool = False
    """Is it built of weights as they are stored, of which nothing is copied? See `streamed`."""
    files: Sequence[Path] = ()
    """Those that its weights are mapped from."""


def export_bundle(
    checkpoint: Path,
    bundle: Path,
    *,
    precision: Precision = "float32",
    weights: Precision | None = None,
    opset: int = OPSET,
    tokenizer: Path | None = None,
    prediction_type: str | None = None,
    zero_snr: bool | None = None,
    vae: Path | None = None,
    distilled: str | None = None,
    defaults: Sequence[str] = (),
    adapters: Collection[str] = (),
    lora: bool = False,
    merge_lora: Sequence[str] = (),
    freeu: Sequence[float] | None = None,
    deep_cache: bool = False,
    overwrite: bool = False,
    report: Report = lambda stage: None,
) -> Bundle:
    """Export a checkpoint of Stable Diffusion 1.x, 2.x or XL to the folder `bundle` and read it back.

    `checkpoint` is a diffusers folder or a .safetensors file. `tokenizer` is a folder; None: the checkpoint's own or,
    of a file, CLIP's. `vae` is another autoencoder, see `vaes.with_vae`. A file of 2.x needs `prediction_type` where it
    does not say it. `zero_snr`: does the noise schedule end at zero terminal SNR? None is what the checkpoint says, of
    both. `distilled` is the method of `distilled.METHODS` by which the model was made fit for few steps; it settles
    sampler and defaults. `defaults` are what users get who say nothing, see `bundle.parse_defaults`. `precision` is
    that of the arithmetic, `weights` that of the file (by default the same, and half where the checkpoint's are);
    graphs take and give float32 either way. `adapters` are those of `ADAPTERS` that the denoiser can take; one that a
    picture does not use costs nothing. With `lora` denoiser and text encoders are exported a second time, as graphs
    that take LoRAs, see `shared_data` for what they share. `merge_lora` are LoRAs that its weights get for good, see
    `merge.with_loras`. `freeu` are the factors b1, b2, s1 and s2 of FreeU, which the denoiser then computes with, see
    `freeu.bake`. With `deep_cache` the denoiser also gives its deep features, and a shallow graph takes them, see
    `deep_cache`. `report` is told each stage as it begins, and before them what of the checkpoint is left out: weights
    that no part needs, and settings of its scheduler that are not followed.

    The folder appears whole or not at all; what exports of it that were killed have left is removed. Raises
    `InputError` for a checkpoint or an option that cannot be used and for a target that exists, `ExportError` where a
    graph cannot be made or differs from torch, or where a library is missing, `OutputError` where the disk is full or
    refuses.
    """
    checkpoint, bundle = Path(checkpoint), Path(bundle)
    stored = stored_precision(precision, weights)
    check_opset(opset)
    for each in adapters:
        if each not in ADAPTERS:
            raise unknown("adapter", each, ADAPTERS, "adapters")
    source = supported(open_checkpoint(checkpoint, tokenizer, prediction_type, zero_snr, vae))
    baked = None if freeu is None else parse_freeu(freeu)
    if baked is not None:
        source = replace(source, origin={**source.origin, "freeu": str(baked)})
    if ignored := surplus(source):
        source = replace(source, origin={**source.origin, "ignored weights": ignored})
    if merge_lora:
        source = with_loras(source, merge_lora)
    if weights is None and precision == "float32" and all(is_half(source.state(part)) for part in source.parts):
        stored = "float16"
    model = model_facts(source, bundle.name)
    if distilled is not None:
        model = by_method(model, distilled)
    model = replace(model, defaults=parse_defaults(defaults, model.defaults))
    for name, note in NOTES.items():
        if name in model.origin:
            report(f"{note}: {model.origin[name]}")
    remove_stale(bundle)
    check_space(bundle, _size(source, stored))
    with publish(bundle, overwrite) as folder:
        report("tokenizer")
        words = {part: _write_tokenizer(source, part, folder) for part in source.encoders}
        graphs = {
            part.component.name: export_graph(part, folder, precision, stored, opset, report)
            for part in parts(source, next(iter(words.values())).length, adapters, lora, baked, deep_cache)
        }
        encoders = tuple(EncoderFacts(name, own, components.HIDDEN, components.POOLED) for name, own in words.items())
        model = replace(model, encoders=encoders)
        graphs = share_data(folder, graphs)
        Bundle(folder, model, graphs, f"overpaint {__version__}").write_manifest()
    return Bundle.read(bundle, verify=False)


def open_checkpoint(
    checkpoint: Path,
    tokenizer: Path | None = None,
    prediction_type: str | None = None,
    zero_snr: bool | None = None,
    vae: Path | None = None,
) -> Checkpoint:
    """Open a diffusers folder or a .safetensors file, and another `vae` than its own; raises `InputError` for anything
    else, pickles first."""
    source = _opened(checkpoint, tokenizer, prediction_type, zero_snr, vae)
    return source if vae is None else with_vae(source, Path(vae))


def _opened(
    checkpoint: Path, tokenizer: Path | None, prediction_type: str | None, zero_snr: bool | None, vae: Path | None
) -> Checkpoint:
    if checkpoint.is_dir():
        return open_folder(checkpoint, tokenizer, prediction_type, zero_snr)
    if checkpoint.suffix.lower() in PICKLES:
        refuse_pickle(checkpoint)
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such checkpoint; name a diffusers folder or a .safetensors file")
    if checkpoint.suffix.lower() != ".safetensors":
        raise InputError(f"{checkpoint}: is neither a diffusers folder nor a .safetensors file")
    return open_single_file(checkpoint, tokenizer, prediction_type, zero_snr, vae)


def stored_precision(precision: str, weights: str | None) -> str:
    """The dtype that weights are stored in; raises `InputError` for a pair of options that does not go together."""
    for option in (precision, weights or precision):
        if option not in PRECISIONS:
            raise unknown("precision", option, PRECISIONS)
    if (precision, weights) == ("float16", "float32"):
        raise InputError("a float16 graph has float16 weights; leave out weights, or choose precision float32")
    return weights or precision


def check_opset(opset: int) -> None:
    """Raise `InputError` for an opset that graphs cannot be written in."""
    if opset not in OPSETS:
        raise InputError(f"opset {opset} cannot be written; choose {OPSETS[0]} to {OPSETS[-1]}")


def _write_tokenizer(source: Checkpoint, part: str, folder: Path) -> Tokenizer:
    """The tokenizer of a text encoder, in a folder of its own."""
    longest = source.configs[part]["max_position_embeddings"]
    return write_tokenizer(source.tokenizers[part], folder, longest, TOKENIZERS[part])


def _size(source: Checkpoint, weights: str) -> int:
    """About how many bytes the bundle's weights take."""
    count = sum(tensor.numel() for part in source.parts for tensor in source.state(part).values())
    return count * torch.finfo(getattr(torch, weights)).bits // 8


def parts(
    source: Checkpoint,
    chunk: int,
    adapters: Collection[str] = (),
    lora: bool = False,
    freeu: FreeU | None = None,
    deep_cache: bool = False,
) -> Iterator[Part]:
    """The graphs of a checkpoint whose prompts come in chunks of `chunk` tokens, the denoiser ready for `adapters` and
    with `freeu`; with `lora` those besides that take LoRAs, with `deep_cache` the shallow one."""
    unet, vae = (source.configs[part] for part in ("unet", "vae"))
    scale = downscale(vae)
    width, height = components.latent_size(unet)
    size = (width * scale, height * scale)
    encoder = wrappers.TinyVaeEncoder if components.is_tiny(vae) else wrappers.VaeEncoder
    large = is_large(source.state("unet"))
    denoiser = _denoiser(source, scale, chunk, adapters)
    others = [spec.name for spec in denoiser.inputs[3:]]
    whole = CachingUNet if deep_cache else wrappers.UNet
    own = caching(denoiser, unet) if deep_cache else denoiser
    painter = Part(own, lambda: whole(_unet(source, large, freeu), others), streamed=large, files=source.files)
    for part in (*(_text_part(source, name) for name in source.encoders), painter):
        yield part
        if lora:
            yield _with_lora(part)
    if deep_cache:
        rest = shallow(denoiser, unet)
        names = [spec.name for spec in rest.inputs[2:]]
        yield Part(rest, lambda: ShallowUNet(_unet(source, large, freeu), names), streamed=large, files=source.files)
    yield Part(components.vae_encoder(vae, scale, size), lambda: encoder(load_vae(source)))
    yield Part(components.vae_decoder(vae, scale, size), lambda: wrappers.VaeDecoder(load_vae(source)))


def _unet(source: Checkpoint, as_stored: bool, freeu: FreeU | None) -> UNet2DConditionModel:
    model = load_unet(source, as_stored)
    if freeu is not None:
        bake(model, freeu)
    return model


def _denoiser(source: Checkpoint, scale: int, chunk: int, adapters: Collection[str]) -> Component:
    unet = source.configs["unet"]
    pooled = source.configs[SECOND]["projection_dim"] if SECOND in source.configs else 0
    component = components.unet(unet, scale, chunk, pooled)
    if CONTROL in adapters:
        component = with_control(component, residuals(unet))
    if IMAGE in adapters:
        component = with_image_prompts(component, image_width(unet))
    if PERTURBED in adapters:
        component = with_perturbed(component, unet)
    return component


def _text_part(source: Checkpoint, name: str) -> Part:
    """A text encoder: of SDXL's two the last layer but one is read, of the second the projected text too."""
    penultimate, large = SECOND in source.encoders, is_large(source.state(name))
    return Part(
        components.text_encoder(source.configs[name], name, skipped=int(penultimate), projects=name == SECOND),
        lambda: wrappers.TextEncoder(load_text_encoder(source, name, large), penultimate),
        streamed=large,
        files=source.files,
    )


def _with_lora(part: Part) -> Part:
    """The graph of a part that takes LoRAs besides."""

    def build() -> LoraInputs:
        return LoraInputs(part.build())

    return replace(part, component=with_lora(part.component, build().layers), build=build)


def export_graph(part: Part, folder: Path, precision: str, weights: str, opset: int, report: Report) -> Graph:
    """Export one graph into `folder` and verify it; one copy of its weights is in memory at a time, of a
    streamed one none."""
    with unloading([*part.files, folder / f"{part.component.name}.data"] if part.streamed else []):
        return _exported(part, folder, precision, weights, opset, report)


def _exported(part: Part, folder: Path, precision: str, weights: str, opset: int, report: Report) -> Graph:
    component = part.component
    report(f"{component.name}: loading")
    module = part.build().eval()
    if (precision, weights) == ("float32", "float16") and not part.streamed:
        round_to_half(module, component.name)
    report(f"{component.name}: running in torch")
    with in_float32(module):
        expected = reference(module, component)
    if precision == "float16" and not part.streamed:
        module.half()
    report(f"{component.name}: exporting")
    layers = layer_names(module) if component.role in MERGEABLE else {}
    path = folder / f"{component.name}.onnx"
    streamed = getattr(torch, precision) if part.streamed else None
    data = write_graph(module, component, path, opset=opset, weights=weights, streamed=streamed)
    del module
    gc.collect()
    report(f"{component.name}: verifying")
    receipt = compare(path, component, expected, precision, weights, part.libraries, lean=part.streamed)
    return Graph(
        role=component.role,
        file=File.of(folder, path.name),
        inputs=component.inputs,
        outputs=component.outputs,
        ranges=component.ranges,
        precision=precision,
        weights=weights,
        receipt=receipt,
        data=tuple(File.of(folder, name) for name in data),
        adapters=component.adapters,
        base=component.base,
        low_rank=component.low_rank,
        stored=stored_weights(path, layers),
    )
