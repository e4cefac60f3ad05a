"""Makes comfy_pictures.npz: pictures of `comfy_workflows`, by ComfyUI's own nodes on the same checkpoint.

It wants what `comfy` wants, and kornia: `python -m tests.vectors.comfy_pictures` in the repository's root. Only
configurations are replaced, since ComfyUI knows no U-Net, VAE and text encoder as small; nodes run as they are.
"""

from __future__ import annotations

import asyncio
import importlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.vectors.comfy import program
from tests.vectors.comfy_workflows import (
    CHANNELS,
    LORA,
    NAME,
    NET,
    TEXT,
    VAE_WIDTHS,
    Document,
    workflows,
    write_inputs,
    write_models,
)

PICTURES = Path(__file__).with_name("comfy_pictures.npz")


def use_small_models() -> None:
    """Have ComfyUI take the checkpoint for one of 1.x that predicts v."""
    models, base, sd = (importlib.import_module(f"comfy.{name}") for name in ("supported_models", "model_base", "sd"))
    own = {"context_dim": TEXT["hidden_size"], "model_channels": CHANNELS}

    class Small(models.SD15):  # type: ignore[name-defined, misc]
        unet_config = {**models.SD15.unet_config, **own}  # noqa: RUF012

        def model_type(self, state_dict: Any, prefix: str = "") -> Any:
            return base.ModelType.V_PREDICTION

    models.models.insert(0, Small)
    autoencoder, load = sd.AutoencoderKL, sd.load_checkpoint_guess_config
    narrow = {
        "ch": VAE_WIDTHS[0],
        "ch_mult": [width // VAE_WIDTHS[0] for width in VAE_WIDTHS],
        "num_res_blocks": 1,
    }
    sd.AutoencoderKL = lambda ddconfig, **options: autoencoder(ddconfig={**ddconfig, **narrow}, **options)
    sd.load_checkpoint_guess_config = lambda *args, **options: load(
        *args, **{**options, "te_model_options": {"clip_l_model_config": TEXT}}
    )


def use_folder(folder: Path) -> None:
    """Have ComfyUI read its models and pictures from `folder`, and write there."""
    paths = importlib.import_module("folder_paths")
    for kind, file in {"checkpoints": NAME, "controlnet": NET, "loras": LORA}.items():
        paths.folder_names_and_paths[kind] = ([str(folder)], {Path(file).suffix})
    paths.set_input_directory(str(folder / "input"))
    paths.set_output_directory(str(folder))
    paths.set_temp_directory(str(folder))


def node_classes() -> dict[str, Any]:
    """ComfyUI's nodes by their names, those of its extras too."""
    nodes = importlib.import_module("nodes")
    found = dict(nodes.NODE_CLASS_MAPPINGS)
    for path in sorted(Path(nodes.__file__).parent.glob("comfy_extras/nodes_*.py")):
        try:
            found |= _of_module(importlib.import_module(f"comfy_extras.{path.stem}"))
        except ImportError as exc:  # of other models, with libraries of their own
            print(f"left out: {path.stem} ({exc})")
    return found


def _of_module(module: ModuleType) -> dict[str, Any]:
    found = dict(getattr(module, "NODE_CLASS_MAPPINGS", {}))
    if entry := getattr(module, "comfy_entrypoint", None):
        extension = entry()
        if asyncio.iscoroutine(extension):
            extension = asyncio.run(extension)
        found |= {each.GET_SCHEMA().node_id: each for each in asyncio.run(extension.get_node_list())}
    return found


class Executor:
    """Runs a workflow's nodes, each once."""

    def __init__(self, classes: Mapping[str, Any], document: Document) -> None:
        self._classes, self._document = classes, document
        self._results: dict[str, Any] = {}

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """The pictures that are saved, [n, height, width, 3], their levels rounded down as SaveImage rounds them."""
        for step in self._document.values():
            if step["class_type"] == "SaveImage":
                images = self._value(step["inputs"]["images"])
                yield (255 * images).clip(0, 255).numpy().astype(np.uint8)

    def _value(self, value: Any) -> Any:
        linked = isinstance(value, list) and len(value) == 2 and value[0] in self._document
        return self._result(value[0])[value[1]] if linked else value

    def _result(self, id: str) -> Any:
        if id not in self._results:
            step = self._document[id]
            kind = self._classes[step["class_type"]]
            inputs = {name: self._value(value) for name, value in step["inputs"].items()}
            call = kind.execute if hasattr(kind, "GET_SCHEMA") else getattr(kind(), kind.FUNCTION)
            made = call(**inputs)
            self._results[id] = getattr(made, "result", made)
        return self._results[id]


def main() -> None:
    program()
    use_small_models()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        write_models(folder)
        write_inputs(folder / "input")
        use_folder(folder)
        classes, found = node_classes(), {}
        for title, document in workflows().items():
            [found[title]] = Executor(classes, document).pictures()
            print(f"{title}: {found[title].shape}")
    np.savez_compressed(PICTURES, **found)


if __name__ == "__main__":
    main()
