"""A bundle and a device become a model; the only file of the runtime that names backends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...bundles.facts import ModelFacts, conditionings
from ...bundles.format import MANIFEST
from ...bundles.manifest import Bundle
from ...bundles.store import Store
from ...engines.base import Engine
from ...engines.hot_swap import HotSwap
from ...engines.registry import EngineOptions, open_engine
from ...engines.select import Candidate, faster, fastest, usual_device
from ...errors import BundleError, InputError, unknown
from ..conditioning.encoders import VECTORS, TextEncoder, load_tokenizer
from ..denoising.denoiser import Denoiser
from ..imaging.limits import MAX_SIDE
from ..sampling.flow import FlowSchedule, schedule_from_config
from ..sampling.levels import ModelSchedule
from ..sampling.names import find_schedule
from .autoencoder import Autoencoder
from .model import Model
from .stages import Stages

MODELS = Path(__file__).parents[2] / "models"
# What the graph of a role takes and gives.
SIGNATURES: Mapping[str, tuple[set[str], set[str]]] = {
    "text_encoder": ({"input_ids", "clip_skip"}, {"embeddings"}),
    "denoiser": ({"sample", "timestep", "encoder_hidden_states"}, {"model_output"}),
    "vae_encoder": ({"pixels"}, {"mean"}),
    "vae_decoder": ({"latents"}, {"pixels"}),
}
# What a graph may take besides: a bundle of before this input was thought of does without.
OPTIONAL: Mapping[str, set[str]] = {"text_encoder": {VECTORS}}
# 64 x 64 latents are a row of 512 x 512 pixels in Stable Diffusion. The two of guidance share the reading of weights,
# 6 % of a step on two cores with AMX; on two without it larger calls were no faster a row.
AREAS = {"cpu": 2 * 4096, "cuda": 16 * 4096}
CPU_TILE = 1024


def load_model(
    model: str | Path = "tiny",
    *,
    engine: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    shapes: str = "auto",
    threads: int = 0,
    max_rows: int = 16,
    max_area: int | None = None,
    vae_tile: int = CPU_TILE,
    verify: bool = True,
) -> Model:
    """Load a bundle: a folder's path, or the name of one that ships with the package.

    `engine` "auto" takes the fastest that can run here; `device`, `precision`, `shapes` and `threads` are those of
    `engines.registry.EngineOptions`. `max_rows` and `max_area` (latent positions; None: what suits the device) bound
    an engine call; pictures above `vae_tile` squared pixels go through the VAE in tiles; `verify` compares every file
    with its hash. Raises `InputError` for an unknown name or engine, `BundleError` for a bundle that cannot be used,
    `EngineError` where the engine's library is missing.
    """
    limits = {"threads": (threads, 0), "max_rows": (max_rows, 1), "vae_tile": (vae_tile, 1)}
    if max_area is not None:
        limits["max_area"] = (max_area, 1)
    for name, (value, least) in limits.items():
        if type(value) is not int or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    names = {"engine": engine, "shapes": shapes, "device": device or "", "precision": precision or ""}
    for name, word in names.items():
        if not isinstance(word, str):
            raise InputError(f"{name} must be a name, not {word!r}")
    bundle = Bundle.read(find(model), verify=verify)
    check_signatures(bundle)
    schedule = read_schedule(bundle)
    denoiser, text_encoder = bundle.by_role("denoiser"), bundle.by_role("text_encoder")
    options = EngineOptions(device or "", threads, precision, shapes)
    engines = _engines(bundle, engine, options)
    facts = bundle.tokenizer
    stages = Stages(
        bundle,
        TextEncoder(
            engines["text_encoder"],
            load_tokenizer(bundle.folder / facts.file.path),
            facts,
            text_encoder.ranges["clip_skip"].most,
            denoiser.ranges["tokens"].most,
        ),
        Autoencoder(engines["vae_encoder"], engines["vae_decoder"], bundle.model, vae_tile, longest=_longest(bundle)),
        Denoiser(
            engines["denoiser"],
            min(max_rows, denoiser.ranges["rows"].most),
            max_area or AREAS[engines["denoiser"].device],
        ),
    )
    loading = {
        "model": str(model), "engine": engine, "device": device, "precision": precision, "shapes": shapes,
        "threads": threads, "max_rows": max_rows, "max_area": max_area, "vae_tile": vae_tile,
    }  # fmt: skip
    return Model(stages, schedule, loading)


def _longest(bundle: Bundle) -> int:
    """The longest side in pixels that the VAE takes."""
    graph = bundle.by_role("vae_encoder")
    return min(
        (graph.ranges[axis].most for axis in graph.inputs[0].axes if axis in ("height", "width")), default=MAX_SIDE
    )


def _engines(bundle: Bundle, engine: str, options: EngineOptions) -> dict[str, Engine]:
    """What runs the graph of each role; on a GPU one that is built later takes over where it may."""
    chosen = fastest(bundle, options.device or None) if engine == "auto" else Candidate(engine, options.device, None)
    options = replace(options, device=chosen.device or usual_device(engine))
    store = Store.of(bundle.folder)
    looked = dict.fromkeys(SIGNATURES, store.changed)

    def opened(role: str, engine: str) -> Engine:
        return open_engine(engine, bundle.name_of(role), bundle.by_role(role), bundle.folder, options)

    def upgrade(role: str) -> Engine | None:
        before, looked[role] = looked[role], store.changed
        better = faster(bundle, chosen) if looked[role] != before else None
        return opened(role, better.engine) if better else None

    engines = {role: opened(role, chosen.engine) for role in SIGNATURES}
    if engine != "auto" or options.device == "cpu":
        return engines
    return {role: HotSwap(first, partial(upgrade, role)) for role, first in engines.items()}


def find(model: str | Path) -> Path:
    """The folder of a bundle by its name among `bundled()`, or by its path (`./tiny`, where a name is meant to be one).

    Raises `InputError` for a name that is neither.
    """
    if not isinstance(model, (str, Path)) or not str(model).strip():
        raise InputError(f"a model is a bundle's path or one of {', '.join(bundled())}, not {model!r}")
    if str(model) in bundled():
        return MODELS / model
    path = Path(model).expanduser()
    if len(path.parts) == 1 and not os.path.exists(path) and os.sep not in str(model):
        raise unknown("model", str(model), bundled())
    return path


def bundled() -> list[str]:
    """The names of the bundles that ship with the package."""
    return sorted(manifest.parent.name for manifest in MODELS.glob(f"*/{MANIFEST}"))


def read_facts(model: str | Path) -> ModelFacts:
    """The facts of a bundle, whose graphs are not looked at; raises as `load` does."""
    return Bundle.read(find(model), verify=False).model


def read_schedule(bundle: Bundle) -> ModelSchedule | FlowSchedule:
    """The noise schedule that the bundle's model was trained with; raises `BundleError` for facts that are none."""
    try:
        find_schedule(bundle.model.default_schedule)
        return schedule_from_config(bundle.model.scheduler)
    except (InputError, TypeError, ValueError) as exc:
        raise BundleError(f"{bundle.folder}: the scheduler's facts are wrong ({exc}); export the bundle again") from exc


def check_signatures(bundle: Bundle) -> None:
    """Raise `BundleError` where a graph's inputs or outputs are not those the runtime feeds and reads."""
    for role, (inputs, outputs) in SIGNATURES.items():
        graph = bundle.by_role(role)
        given, made = {spec.name for spec in graph.inputs}, {spec.name for spec in graph.outputs}
        if given - OPTIONAL.get(role, set()) != inputs or not outputs <= made:
            raise BundleError(
                f"{bundle.folder}: graph {bundle.name_of(role)!r} takes {sorted(given)} and gives {sorted(made)}, "
                f"the runtime needs {sorted(inputs)} and {sorted(outputs)}; export again"
            )
    graphs = [bundle.by_role(role) for role in SIGNATURES]
    axes = {spec.name: spec.axes for graph in graphs for spec in (*graph.inputs, *graph.outputs)}
    model = bundle.model
    channels = dict.fromkeys(("model_output", "mean", "latents"), model.latent_channels)
    for name, wanted in {"sample": model.sample_channels, **channels}.items():
        if len(axes[name]) != 4 or axes[name][1] != wanted:
            raise BundleError(f"{bundle.folder}: {name} is {axes[name]}, the model's facts say {wanted} channels")
    if model.conditioning_channels and not model.inpaints:
        raise BundleError(
            f"{bundle.folder}: its U-Net is shown {conditionings(model.latent_channels)[model.conditioning_channels]}, "
            "which this version cannot run yet; take a model for image-to-image or inpainting"
        )
    if axes["embeddings"][-1] != axes["encoder_hidden_states"][-1]:
        raise BundleError(f"{bundle.folder}: the text encoder and the U-Net differ in the width of the conditioning")
    needed = {"denoiser": ("rows", "tokens", "height", "width"), "text_encoder": ("clip_skip",)}
    for role, ranges in needed.items():
        if missing := set(ranges) - bundle.by_role(role).ranges.keys():
            raise BundleError(
                f"{bundle.folder}: graph {bundle.name_of(role)!r} has no range of {', '.join(sorted(missing))}; "
                "export again"
            )
