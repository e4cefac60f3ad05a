"""The hashes of adapters that are named on the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any


def lora_hashes(engine: Mapping[str, Any]) -> Callable[[str], list[str]]:
    """What gives the hashes of the LoRAs that a prompt names among those that a model is loaded with.

    Raises `InputError` for a place of LoRAs that is not there.
    """
    from ..errors import InputError
    from ..loras.weights import take_tags
    from ..runtime.conditioning.lora.library import LoraLibrary

    library = LoraLibrary(None)
    library.add(engine.get("loras", ()))

    @cache
    def known(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def named(prompt: str) -> list[str]:
        try:
            uses = take_tags(prompt)[1]
        except InputError:
            return []  # is said where the prompt is read
        return [known(library.paths[use.name]) for use in uses if use.name in library.paths]

    return named


def adapter_hashes(options: Mapping[str, Any], engine: Mapping[str, Any]) -> list[str]:
    """Those of a request's ControlNets, and of the image-prompt adapters and LoRAs' files that a model is loaded with.

    Raises `InputError` for one that is not there, and `BundleError` for what is none.
    """
    from ..bundles.controlnet import ControlNetBundle
    from ..bundles.image_prompt import ImagePromptBundle
    from ..errors import InputError
    from ..runtime.model.controlnet import find_controlnet
    from ..runtime.model.image_prompt import find_image_prompt
    from ..runtime.tools.beside import Beside

    nets = [
        find_controlnet(each.fields["net"] if isinstance(each, Beside) else each.net)
        for each in options.get("controls") or ()
    ]
    adapters = map(find_image_prompt, engine.get("image_prompt_adapters", {}).values())
    bundles = [ControlNetBundle.read(net, verify=False) for net in nets]
    prompts = [ImagePromptBundle.read(adapter, verify=False) for adapter in adapters]
    files = [path for path in map(Path, engine.get("loras", ())) if not path.is_dir()]
    try:
        loras = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    except OSError as exc:
        raise InputError(f"{exc.filename}: cannot be read ({exc.strerror}); check the path", "loras") from exc
    graphs = [*(each.graphs for each in bundles), *(each.graphs for each in prompts)]
    return [graph.sha256 for each in graphs for graph in each.values()] + loras
