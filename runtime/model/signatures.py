"""What the runtime feeds a model's graphs and reads from them, checked when a bundle is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from ...bundles.facts import EncoderFacts, conditionings
from ...bundles.graph import Graph
from ...bundles.manifest import Bundle
from ...bundles.tensor import TensorSpec
from ...errors import BundleError
from ..conditioning.conditioning import POOLED, TEXT
from ..conditioning.encoders import VECTORS
from ..denoising.denoiser import OUTPUT, SAMPLE, TIMESTEP

# What the graph of a role takes and gives; text encoders are described by the model's facts.
SIGNATURES: Mapping[str, tuple[set[str], set[str]]] = {
    "denoiser": ({SAMPLE, TIMESTEP, TEXT}, {OUTPUT}),
    "vae_encoder": ({"pixels"}, {"mean"}),
    "vae_decoder": ({"latents"}, {"pixels"}),
}
ENCODER = {"input_ids", "clip_skip"}
# A bundle of before this input was thought of does without.
ENCODER_OPTIONAL = {VECTORS}


def check_signatures(bundle: Bundle) -> None:
    """Raise `BundleError` where a graph's inputs or outputs are not those the runtime feeds and reads.

    The denoiser may take inputs besides, which conditionings then have to have, see `unfed`.
    """
    for encoder in bundle.model.encoders:
        _check(bundle, encoder.graph, ENCODER, set(encoder.outputs), ENCODER_OPTIONAL)
        _check_range(bundle, encoder.graph, ("clip_skip",))
    for role, (inputs, outputs) in SIGNATURES.items():
        graph = bundle.by_role(role)
        optional = {spec.name for spec in graph.inputs} if role == "denoiser" else set()
        _check(bundle, bundle.name_of(role), inputs, outputs, optional)
    _check_range(bundle, bundle.name_of("denoiser"), ("rows", "tokens", "height", "width"))
    _check_channels(bundle)
    _check_widths(bundle)


def unfed(bundle: Bundle) -> list[str]:
    """The denoiser's inputs that no request can give: neither the latents nor what the text encoders make."""
    denoiser = bundle.by_role("denoiser")
    given = {SAMPLE, TIMESTEP, TEXT, *denoiser.optional}
    if any(encoder.pooled for encoder in bundle.model.encoders):
        given.add(POOLED)
    return sorted({spec.name for spec in denoiser.inputs} - given)


def _check(bundle: Bundle, name: str, inputs: set[str], outputs: set[str], optional: set[str]) -> None:
    graph = bundle.graphs[name]
    given, made = {spec.name for spec in graph.inputs}, {spec.name for spec in graph.outputs}
    if not inputs <= given or given - optional - inputs or not outputs <= made:
        raise BundleError(
            f"{bundle.folder}: graph {name!r} takes {sorted(given)} and gives {sorted(made)}, "
            f"the runtime needs {sorted(inputs)} and {sorted(outputs)}; export again"
        )


def _check_range(bundle: Bundle, name: str, axes: tuple[str, ...]) -> None:
    if missing := set(axes) - bundle.graphs[name].ranges.keys():
        raise BundleError(f"{bundle.folder}: graph {name!r} has no range of {', '.join(sorted(missing))}; export again")


def _check_channels(bundle: Bundle) -> None:
    model = bundle.model
    axes = {spec.name: spec.axes for role in SIGNATURES for spec in _tensors(bundle.by_role(role))}
    channels = dict.fromkeys((OUTPUT, "mean", "latents"), model.latent_channels)
    for name, wanted in {SAMPLE: model.sample_channels, **channels}.items():
        if len(axes[name]) != 4 or axes[name][1] != wanted:
            raise BundleError(f"{bundle.folder}: {name} is {axes[name]}, the model's facts say {wanted} channels")
    if model.conditioning_channels and not model.inpaints:
        raise BundleError(
            f"{bundle.folder}: its U-Net is shown {conditionings(model.latent_channels)[model.conditioning_channels]}, "
            "which this version cannot run yet; take a model for image-to-image or inpainting"
        )


def _check_widths(bundle: Bundle) -> None:
    """Raise `BundleError` where the encoders' hidden states side by side are not as wide as the denoiser's input."""
    wanted = next(spec.axes[-1] for spec in bundle.by_role("denoiser").inputs if spec.name == TEXT)
    widths = [_width(bundle, encoder) for encoder in bundle.model.encoders if encoder.hidden]
    if all(isinstance(width, int) for width in (wanted, *widths)) and sum(map(int, widths)) != wanted:
        raise BundleError(f"{bundle.folder}: the text encoder and the U-Net differ in the width of the conditioning")


def _width(bundle: Bundle, encoder: EncoderFacts) -> int | str:
    return next(spec.axes[-1] for spec in bundle.graphs[encoder.graph].outputs if spec.name == encoder.hidden)


def _tensors(graph: Graph) -> tuple[TensorSpec, ...]:
    return (*graph.inputs, *graph.outputs)
