"""The hashes of adapters that are named on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any


def lora_hashes(options: Mapping[str, Any], engine: Mapping[str, Any]) -> Callable[[str], list[str]]:
    """What gives the hashes of the LoRAs that a request or its prompts name among those that a model is loaded with.

    Raises `InputError` for a place of LoRAs that is not there; what it gives does so for a file that cannot be read.
    """
    from ..errors import InputError
    from ..loras.weights import parse_use, take_tags
    from ..runtime.conditioning.lora.library import LoraLibrary
    from ..runtime.tools.folder import content

    library = LoraLibrary(None)
    library.add(engine.get("loras", ()))
    known = cache(content)
    own = [parse_use(text) for text in options.get("loras") or ()]

    def named(prompts: str) -> list[str]:
        try:
            uses = [*own, *take_tags(prompts)[1]]
        except InputError:
            return []  # is said where the prompt is read
        return [known(library.paths[use.name]) for use in uses if use.name in library.paths]

    return named


def adapter_hashes(options: Mapping[str, Any], engine: Mapping[str, Any]) -> list[str]:
    """The hashes of a request's ControlNets, and of the image-prompt adapters that a model is loaded with.

    Raises `InputError` for one that is not there, and `BundleError` for what is none.
    """
    from ..bundles.controlnet import ControlNetBundle
    from ..bundles.image_prompt import ImagePromptBundle
    from ..runtime.model.controlnet import find_controlnet
    from ..runtime.model.image_prompt import find_image_prompt
    from ..runtime.tools.per_picture import PerPicture

    nets = [
        find_controlnet(each.fields["net"] if isinstance(each, PerPicture) else each.net)
        for each in options.get("controls") or ()
    ]
    adapters = map(find_image_prompt, engine.get("image_prompt_adapters", {}).values())
    bundles = [ControlNetBundle.read(net, verify=False) for net in nets]
    prompts = [ImagePromptBundle.read(adapter, verify=False) for adapter in adapters]
    graphs = [*(each.graphs for each in bundles), *(each.graphs for each in prompts)]
    return [graph.sha256 for each in graphs for graph in each.values()]
