"""What the runtime feeds a model's graphs and reads from them, checked when a bundle is loaded."""

from __future__ import annotations

from collections.abc import Mapping

from ...bundles.facts import EncoderFacts
from ...bundles.graph import DEEP_FEATURES, DENOISER, DENOISER_SHALLOW, Graph
from ...bundles.manifest import Bundle
from ...bundles.tensor import TensorSpec
from ...errors import BundleError
from ..conditioning.conditioning import GUIDANCE, POOLED, SIZES, TEXT
from ..conditioning.encoders import VECTORS
from ..denoising.denoiser import OUTPUT, SAMPLE, TIMESTEP
from .loras import stand_in

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
    if shallow := stand_in(bundle, DENOISER_SHALLOW, bundle.name_of(DENOISER)):
        optional = {spec.name for spec in bundle.by_role(DENOISER).inputs}
        _check(bundle, shallow, {SAMPLE, TIMESTEP, DEEP_FEATURES}, {OUTPUT}, optional)
        _check(bundle, bundle.name_of(DENOISER), set(), {DEEP_FEATURES}, optional)
    _check_range(bundle, bundle.name_of("denoiser"), ("rows", "tokens", "height", "width"))
    _check_channels(bundle)
    _check_widths(bundle)


def unfed(bundle: Bundle) -> list[str]:
    """The denoiser's inputs that no request can give: neither the latents nor what the text encoders make, nor numbers
    that the facts explain."""
    denoiser = bundle.by_role("denoiser")
    given = {SAMPLE, TIMESTEP, TEXT, GUIDANCE, *denoiser.optional}
    if bundle.model.size_ids:
        given.add(SIZES)
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


def _check_widths(bundle: Bundle) -> None:
    """Raise `BundleError` where what the denoiser takes of a prompt is not as wide as what the encoders give, side by
    side or the last pooled one, and where the facts explain another count of numbers than it takes."""
    wanted = {spec.name: spec.axes[-1] for spec in bundle.by_role("denoiser").inputs}
    encoders = bundle.model.encoders
    hidden = [_width(bundle, encoder, encoder.hidden) for encoder in encoders if encoder.hidden]
    pooled = [_width(bundle, encoder, encoder.pooled) for encoder in encoders if encoder.pooled]
    for name, widths in ((TEXT, hidden), (POOLED, pooled[-1:])):
        lengths = wanted.get(name), *widths
        if widths and all(isinstance(length, int) for length in lengths) and sum(map(int, widths)) != wanted[name]:
            raise BundleError(f"{bundle.folder}: the text encoders and the U-Net differ in the width of {name}")
    if SIZES in wanted and (ids := bundle.model.size_ids) and len(ids) != wanted[SIZES]:
        raise BundleError(f"{bundle.folder}: its U-Net takes {wanted[SIZES]} numbers, the facts explain {len(ids)}")


def _width(bundle: Bundle, encoder: EncoderFacts, output: str | None) -> int | str:
    return next(spec.axes[-1] for spec in bundle.graphs[encoder.graph].outputs if spec.name == output)


def _tensors(graph: Graph) -> tuple[TensorSpec, ...]:
    return (*graph.inputs, *graph.outputs)
