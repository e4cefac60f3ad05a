"""A bundle and a device become a model; the only file of the runtime that names backends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...bundles.facts import EncoderFacts, ModelFacts
from ...bundles.graph import DENOISER
from ...bundles.manifest import Bundle
from ...bundles.store import Store
from ...engines.base import Engine
from ...engines.hot_swap import HotSwap
from ...engines.lazy import LazyEngine
from ...engines.registry import EngineOptions, open_engine
from ...engines.select import Candidate, faster, fastest, usual_device
from ...errors import BundleError, InputError
from ..conditioning.encoders import PromptEncoder, TextEncoder, WithLoras, load_tokenizer
from ..conditioning.lora.engines import MergedEngines, Weights
from ..conditioning.lora.library import LoraLibrary
from ..denoising.denoiser import AREAS
from ..imaging.limits import MAX_SIDE
from ..sampling.flow import FlowSchedule, schedule_from_config
from ..sampling.levels import ModelSchedule
from ..sampling.names import find_schedule
from .autoencoder import Autoencoder
from .controlnet import ControlNet, ControlNets, load_controlnet
from .image_adapters import ImagePromptAdapters
from .image_prompt import ImagePromptAdapter, load_image_prompt
from .loras import INPUTS, MERGED, check_mode, encoder_with_loras, lora_layers
from .model import Model
from .open_denoiser import open_denoiser
from .shipped import MODELS, find_in, shipped
from .signatures import SIGNATURES, check_signatures
from .stages import Stages

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
    controlnets: Mapping[str, str | Path | ControlNet] | None = None,
    loras: str | Path | Sequence[str | Path] = (),
    lora_partial: bool = False,
    lora_mode: str = INPUTS,
    image_prompt_adapters: Mapping[str, str | Path | ImagePromptAdapter] | None = None,
    preprocessors: Mapping[str, str | Path] | None = None,
) -> Model:
    """Load a bundle: a folder's path, or the name of one that ships with the package.

    `engine` "auto" takes the fastest that can run here; `device`, `precision`, `shapes` and `threads` are those of
    `engines.registry.EngineOptions`. `max_rows` and `max_area` (latent positions; None: what suits the device) bound
    an engine call; pictures above `vae_tile` squared pixels go through the VAE in tiles; `verify` compares every file
    with its hash. `controlnets`, `image_prompt_adapters` and `preprocessors`, ONNX files, are added by the names that
    requests have for them, see `Model.add_controlnet` and its neighbours. `loras` are folders of LoRAs, or files, that
    prompts and requests name; with `lora_partial` tensors of theirs that belong to no layer are left out, instead of
    refused. `lora_mode` "merged" opens the bundle's graphs anew for each selection of LoRAs, merged into their weights,
    where "inputs" has rows of different ones share calls of graphs that take them.
    Raises `InputError` for an unknown name or engine, `BundleError` for a bundle that cannot be used, `EngineError`
    where the engine's library is missing.
    """
    limits = {"threads": (threads, 0), "max_rows": (max_rows, 1), "vae_tile": (vae_tile, 1)}
    if max_area is not None:
        limits["max_area"] = (max_area, 1)
    for name, (value, least) in limits.items():
        if type(value) is not int or value < least:
            raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
    names = {"engine": engine, "shapes": shapes, "device": device or "", "precision": precision or ""}
    names["lora_mode"] = lora_mode
    for name, word in names.items():
        if not isinstance(word, str):
            raise InputError(f"{name} must be a name, not {word!r}")
    bundle = Bundle.read(find(model), verify=verify)
    check_signatures(bundle)
    schedule = read_schedule(bundle)
    options = EngineOptions(device or "", threads, precision, shapes)
    engines, stand_ins, merged = _engines(bundle, engine, options, lora_mode)
    by_role = {role: engines[bundle.name_of(role)] for role in SIGNATURES}
    area = max_area or AREAS[by_role["denoiser"].device]
    opening: dict[str, Any] = {
        "engine": engine, "device": device, "precision": precision, "shapes": shapes, "threads": threads,
        "verify": verify,
    }  # fmt: skip
    stages = Stages(
        bundle,
        PromptEncoder(
            [
                _text_encoder(
                    bundle,
                    facts,
                    engines[facts.graph],
                    encoder_with_loras(bundle, facts.graph, stand_ins, merged),
                )
                for facts in bundle.model.encoders
            ]
        ),
        Autoencoder(by_role["vae_encoder"], by_role["vae_decoder"], bundle.model, vae_tile, longest=_longest(bundle)),
        open_denoiser(bundle, by_role["denoiser"], max_rows, area, stand_ins, merged.get(bundle.name_of(DENOISER))),
        ImagePromptAdapters(bundle, partial(load_image_prompt, **opening)),
        stand_ins=stand_ins,
        merged_engines=merged,
    )
    stages.controlnets = ControlNets(bundle, partial(load_controlnet, **opening, max_rows=max_rows, max_area=max_area))
    library = LoraLibrary(lora_layers(bundle, lora_mode), lora_partial)
    library.add([loras] if isinstance(loras, (str, Path)) else loras)
    loading: dict[str, Any] = {
        "model": str(model), "engine": engine, "device": device, "precision": precision, "shapes": shapes,
        "threads": threads, "max_rows": max_rows, "max_area": max_area, "vae_tile": vae_tile,
    }  # fmt: skip
    if library.places:
        loading |= {"loras": library.places, "lora_partial": lora_partial}
    if lora_mode != INPUTS:
        loading["lora_mode"] = lora_mode
    model_ = Model(stages, schedule, loading, loras=library)
    for name, net in (controlnets or {}).items():
        model_.add_controlnet(name, net)
    for name, adapter in (image_prompt_adapters or {}).items():
        model_.add_image_prompt_adapter(name, adapter)
    for name, file in (preprocessors or {}).items():
        model_.add_preprocessor(name, file)
    return model_


def _text_encoder(bundle: Bundle, facts: EncoderFacts, engine: Engine, lora: WithLoras | None) -> TextEncoder:
    skipped, tokens = bundle.graphs[facts.graph].ranges["clip_skip"], bundle.by_role("denoiser").ranges["tokens"]
    tokenizer = load_tokenizer(bundle.folder / facts.tokenizer.file.path)
    return TextEncoder(engine, tokenizer, facts, skipped.most, tokens.most, lora=lora)


def _longest(bundle: Bundle) -> int:
    """The longest side in pixels that the VAE takes."""
    graph = bundle.by_role("vae_encoder")
    return min(
        (graph.ranges[axis].most for axis in graph.inputs[0].axes if axis in ("height", "width")), default=MAX_SIDE
    )


def _engines(
    bundle: Bundle, engine: str, options: EngineOptions, lora_mode: str
) -> tuple[Mapping[str, Engine], Mapping[str, LazyEngine], Mapping[str, MergedEngines]]:
    """What runs each graph, by its name; on a GPU one that is built later takes over where it may.

    By themselves those that stand in for others, for rows with LoRAs or deep features, and what runs graphs with LoRAs
    merged into their weights, none in another mode.
    """
    chosen = fastest(bundle, options.device or None) if engine == "auto" else Candidate(engine, options.device, None)
    options = replace(options, device=chosen.device or usual_device(engine))
    check_mode(lora_mode, bundle, chosen.engine)
    store = Store.of(bundle.folder)
    names = [facts.graph for facts in bundle.model.encoders] + [bundle.name_of(role) for role in SIGNATURES]
    looked = dict.fromkeys(names, store.changed)

    def opened(name: str, engine: str, weights: Weights | None = None) -> Engine:
        own = options if weights is None else replace(options, weights=weights)
        return open_engine(engine, name, bundle.graphs[name], bundle.folder, own)

    def upgrade(name: str) -> Engine | None:
        before, looked[name] = looked[name], store.changed
        better = faster(bundle, chosen) if looked[name] != before else None
        return opened(name, better.engine) if better else None

    engines = {name: opened(name, chosen.engine) for name in names}
    stand_ins = {
        name: LazyEngine(graph, engines[graph.base].device, partial(opened, name, chosen.engine))
        for name, graph in bundle.graphs.items()
        if graph.base in engines
    }
    merged = {
        name: MergedEngines(bundle.graphs[name], bundle.folder, partial(opened, name, chosen.engine))
        for name in engines
        if lora_mode == MERGED
    }
    if engine != "auto" or options.device == "cpu":
        return engines, stand_ins, merged
    return {name: HotSwap(first, partial(upgrade, name)) for name, first in engines.items()}, stand_ins, merged


def find(model: str | Path) -> Path:
    """The folder of a bundle by its name among `bundled()`, or by its path (`./tiny`, where a name is meant to be one).

    Raises `InputError` for a name that is neither.
    """
    return find_in(MODELS, "model", model)


def bundled() -> list[str]:
    """The names of the bundles that ship with the package."""
    return shipped(MODELS)


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
