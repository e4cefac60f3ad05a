"""A backend that runs the modules that are exported, in torch: bundles for it are made in no time.

What graphs give is held against these modules when they are exported; here the runtime is held against diffusers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import overpaint
from overpaint.bundles.controlnet import ControlNetBundle
from overpaint.bundles.facts import EncoderFacts
from overpaint.bundles.graph import (
    CONTROLNET,
    DEEP_FEATURES,
    IMAGE_ENCODER,
    IMAGE_PROJECTION,
    Check,
    File,
    Graph,
    Receipt,
)
from overpaint.bundles.image_prompt import ImagePromptBundle
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import Array
from overpaint.engines.base import BaseEngine, Engine, check_feeds
from overpaint.engines.registry import BACKENDS, EngineOptions
from overpaint.export.bundle import open_checkpoint, parts
from overpaint.export.checkpoints.checkpoint import TOKENIZERS, Checkpoint
from overpaint.export.checkpoints.controlnets import open_controlnet
from overpaint.export.checkpoints.facts import model_facts
from overpaint.export.checkpoints.ip_adapters import open_ip_adapter
from overpaint.export.checkpoints.load import supported
from overpaint.export.checkpoints.tokenizer import write_tokenizer
from overpaint.export.components import HIDDEN, POOLED, Component
from overpaint.export.controlnet import facts_of, part_of
from overpaint.export.image_prompt import facts_of as image_facts
from overpaint.export.image_prompt import parts_of as image_parts
from overpaint.export.lora import LORA

NAME = "torch-modules"
SOURCE = "checkpoint.txt"


class TorchEngine(BaseEngine):
    """One exported module as it is."""

    label = "torch, cpu, float32"

    def __init__(self, name: str, graph: Graph, module: torch.nn.Module) -> None:
        self.name, self.inputs, self.outputs, self.precision = name, graph.inputs, graph.outputs, "float32"
        self._module = module

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """What the module gives, by the outputs' names."""
        check_feeds(self.name, self.inputs, feeds)
        with torch.no_grad():
            made = self._module(*(torch.from_numpy(feeds[spec.name]) for spec in self.inputs))
        return {spec.name: output.numpy() for spec, output in zip(self.outputs, made, strict=True)}

    def close(self) -> None:
        """Nothing is held that matters."""


def open_engine(name: str, graph: Graph, folder: Path, options: EngineOptions) -> Engine:
    """The module of a graph, from the checkpoint that the bundle's folder names."""
    path = Path((folder / SOURCE).read_text())
    if graph.role == CONTROLNET:
        return TorchEngine(name, graph, part_of(open_controlnet(path)).build().eval())
    if graph.role in (IMAGE_ENCODER, IMAGE_PROJECTION):
        own = iter(image_parts(open_ip_adapter(path)))
    else:
        cached = any(spec.name == DEEP_FEATURES for spec in (*graph.inputs, *graph.outputs))
        adapters = graph.adapters.keys() - {LORA}
        own = parts(_open(path), 77, adapters, LORA in graph.adapters, deep_cache=cached)
    (module,) = (part.build() for part in own if part.component.name == name)
    return TorchEngine(name, graph, module.eval())


def torch_bundle(
    checkpoint: Path, folder: Path, adapters: Collection[str] = (), deep_cache: bool = False, lora: bool = False
) -> Bundle:
    """A bundle of a checkpoint for this backend: its facts and signatures, and graphs that are empty files."""
    _begin(checkpoint, folder)
    source = _open(checkpoint)
    words = {part: write_tokenizer(source.tokenizers[part], folder, 77, TOKENIZERS[part]) for part in source.encoders}
    own = parts(source, 77, adapters, lora, deep_cache=deep_cache)
    graphs = {part.component.name: _graph(part.component, folder) for part in own}
    encoders = tuple(EncoderFacts(name, own, HIDDEN, POOLED) for name, own in words.items())
    facts = replace(model_facts(source, folder.name), encoders=encoders)
    Bundle(folder, facts, graphs, "test").write_manifest()
    return Bundle.read(folder)


def torch_controlnet(checkpoint: Path, folder: Path) -> ControlNetBundle:
    """The same of a ControlNet."""
    _begin(checkpoint, folder)
    source = open_controlnet(checkpoint)
    graph = _graph(part_of(source).component, folder)
    facts = facts_of(source, folder.name, checkpoint.name)
    ControlNetBundle(folder, facts, {"controlnet": graph}, "test").write_manifest()
    return ControlNetBundle.read(folder)


def torch_image_prompt(checkpoint: Path, folder: Path) -> ImagePromptBundle:
    """The same of an IP-Adapter."""
    _begin(checkpoint, folder)
    source = open_ip_adapter(checkpoint)
    graphs = {part.component.name: _graph(part.component, folder) for part in image_parts(source)}
    ImagePromptBundle(folder, image_facts(source, folder.name, checkpoint.name), graphs, "test").write_manifest()
    return ImagePromptBundle.read(folder)


def _begin(checkpoint: Path, folder: Path) -> None:
    BACKENDS[NAME] = __name__
    folder.mkdir(parents=True)
    (folder / SOURCE).write_text(str(checkpoint))


def _graph(each: Component, folder: Path) -> Graph:
    (folder / f"{each.name}.onnx").write_text(each.name)
    return Graph(
        each.role,
        File.of(folder, f"{each.name}.onnx"),
        each.inputs,
        each.outputs,
        each.ranges,
        "float32",
        "float32",
        Receipt("test", 1e-4, (Check({"rows": 1}, 0.0),)),
        adapters=each.adapters,
        base=each.base,
        low_rank=each.low_rank,
    )


def torch_pipeline(
    checkpoint: Path,
    folder: Path,
    adapters: Collection[str] = (),
    deep_cache: bool = False,
    lora: bool = False,
    **options: Any,
) -> overpaint.Pipeline:
    """The pipeline of a checkpoint on this backend."""
    return overpaint.load(torch_bundle(checkpoint, folder, adapters, deep_cache, lora).folder, engine=NAME, **options)


def _open(checkpoint: Path) -> Checkpoint:
    return supported(open_checkpoint(checkpoint))
