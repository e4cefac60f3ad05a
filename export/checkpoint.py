"""What an export starts from: the configurations and weights of a checkpoint, wherever they are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..engines.base import ExportError, InputError
from .components import Config

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
PIPELINES = {
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInstructPix2PixPipeline",
}
STEMS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a Stable Diffusion checkpoint.

    `configs` holds the JSON of `text_encoder`, `unet`, `vae` and `scheduler` as diffusers writes them; `state(part)`
    reads a part's weights under diffusers' names, mapped from disk; `tokenizer` is a folder that transformers can read.
    """

    configs: Mapping[str, Config]
    tokenizer: Path
    state: Callable[[str], State]
    origin: Mapping[str, str] = field(default_factory=dict)


def open_folder(folder: Path, tokenizer: Path | None = None, prediction_type: str | None = None) -> Checkpoint:
    """Open a diffusers folder; raises `InputError` for one of another kind, with missing parts or pickles."""
    index = read_json(folder / "model_index.json")
    if (pipeline := index.get("_class_name")) not in PIPELINES:
        raise InputError(f"{folder}: is a {pipeline}; only {', '.join(sorted(PIPELINES))} can be exported")
    configs = {part: read_json(folder / part / "config.json") for part in STEMS}
    configs["scheduler"] = read_json(folder / "scheduler" / "scheduler_config.json")
    if prediction_type is not None:
        configs["scheduler"]["prediction_type"] = prediction_type
    origin = {
        "checkpoint": folder.resolve().name,
        "format": "diffusers folder",
        "diffusers": str(index.get("_diffusers_version", "unknown")),
    }
    weights = {part: _weight_files(folder / part, stem) for part, stem in STEMS.items()}
    return Checkpoint(
        configs,
        tokenizer or folder / "tokenizer",
        lambda part: read_tensors(weights[part]),
        origin,
    )


def refuse_pickle(path: Path) -> NoReturn:
    """Raise the `InputError` for weights that are stored as a pickle."""
    raise InputError(
        f"{path}: is a pickle, and loading one can run any code hidden in it; convert it to .safetensors on a machine "
        "you can afford to lose, or fetch the checkpoint's .safetensors edition"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises `InputError` naming the file where that fails."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise InputError(
            f"{path}: is missing; a diffusers folder has model_index.json and a config in each of "
            f"{', '.join(STEMS)} and scheduler: copy the whole checkpoint again"
        ) from exc
    except (OSError, ValueError) as exc:
        raise InputError(f"{path}: cannot be read as JSON ({exc}); copy the checkpoint again") from exc
    if not isinstance(record, dict):
        raise InputError(f"{path}: is not a JSON object; copy the checkpoint again")
    return record


def read_tensors(paths: list[Path]) -> State:
    """The tensors of .safetensors files by name, mapped into memory rather than read; raises `InputError`."""
    state: State = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as stream:
                state.update({name: stream.get_tensor(name) for name in stream.keys()})  # noqa: SIM118
        except (OSError, SafetensorError) as exc:
            raise InputError(f"{path}: cannot be read as safetensors ({exc}); copy the checkpoint again") from exc
    return state


def _weight_files(folder: Path, stem: str) -> list[Path]:
    for name in (f"{stem}.safetensors", f"{stem}.fp16.safetensors"):
        if (folder / name).is_file():
            return [folder / name]
    if (shards := folder / f"{stem}.safetensors.index.json").is_file():
        return [folder / name for name in _shards(shards)]
    pickles = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        refuse_pickle(pickles[0])
    raise InputError(f"{folder}: has no {stem}.safetensors; copy the whole checkpoint again")


def _shards(index: Path) -> list[str]:
    """The names of the files beside `index` that hold the weights; raises `InputError` for any that are elsewhere."""
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not files:
        raise InputError(f"{index}: has no weight_map, which names the files of weights; copy the checkpoint again")
    for name in files.values():
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
            raise InputError(f"{index}: names {name!r}, which is no file beside it; copy the checkpoint again")
    return sorted(set(files.values()))


def check_state(part: str, missing: list[str], unexpected: list[str]) -> None:
    """Raise `ExportError` where a part's weights are not exactly those its configuration asks for."""
    problems = [
        f"{len(names)} {what} (as {names[0]})"
        for what, names in (("missing", missing), ("unknown", unexpected))
        if names
    ]
    if problems:
        raise ExportError(
            f"{part}: the weights do not fit the configuration: {', '.join(problems)}; "
            "copy the checkpoint again, and take config and weights from the same one"
        )
