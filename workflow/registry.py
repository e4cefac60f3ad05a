"""All nodes that ship with the package, and those that a user adds."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from .node import Node, Nodes

FILES = (
    "loaders", "conditioning", "xl_prompts", "files", "images", "quantize", "preprocessors", "scales", "latents",
    "latent_batches", "inpainting", "masks", "sampling", "schedulers", "custom_sampling", "patches", "adapters",
    "image_prompts", "logic", "refused",
)  # fmt: skip


def standard(more: Iterable[Node] = ()) -> Nodes:
    """The nodes of the package and `more`; raises `InputError` for two of one name."""
    nodes = Nodes()
    for file in FILES:
        module = import_module(f".nodes.{file}", __package__)
        nodes.add(*(each for each in vars(module).values() if isinstance(each, Node) and each.home == module.__name__))
        nodes.add(*getattr(module, "MORE", ()))
    nodes.add(*more)
    return nodes
