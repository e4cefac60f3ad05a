"""The hashes of adapters that are named on the command line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
