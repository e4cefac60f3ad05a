"""What an export starts from: the configurations and weights of a checkpoint, wherever they are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...bundles.textfile import decode
from ...errors import ExportError, InputError
from ..components import Config
from .clip import Clip

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
PIPELINES = {
    "LatentConsistencyModelImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusionDepth2ImgPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInstructPix2PixPipeline",
    "StableDiffusionPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
    "StableDiffusionXLPipeline",
}
STEMS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
# The second text encoder of SDXL and its tokenizer.
SECOND = "text_encoder_2"
TOKENIZERS = {"text_encoder": "tokenizer", SECOND: "tokenizer_2"}

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a Stable Diffusion checkpoint.

    `configs` holds the JSON of each part and of `scheduler` as diffusers writes them, the parts being those of `STEMS`
    that the checkpoint has; `state(part)` reads a part's weights under diffusers' names, mapped from disk out of
    `files`. `tokenizers` are, by text encoder, folders that transformers can read, or CLIP's own. `surplus` names the
    tensors that belong to no part. With `zero_empty_negative` an empty negative prompt is zeros.
    """

    configs: Mapping[str, Config]
    tokenizers: Mapping[str, Path | Clip]
    state: Callable[[str], State]
    origin: Mapping[str, str] = field(default_factory=dict)
    surplus: tuple[str, ...] = ()
    zero_empty_negative: bool = False
    files: tuple[Path, ...] = ()

    @property
    def parts(self) -> list[str]:
        """The parts with weights that it has."""
        return [part for part in STEMS if part in self.configs]

    @property
    def encoders(self) -> list[str]:
        """Its text encoders, in the order in which the denoiser takes them."""
        return [part for part in TOKENIZERS if part in self.configs]

    @property
    def tokenizer(self) -> Path | Clip:
        """The first text encoder's tokenizer."""
        return self.tokenizers[self.encoders[0]]


def open_folder(
    folder: Path, tokenizer: Path | None = None, prediction_type: str | None = None, zero_snr: bool | None = None
) -> Checkpoint:
    """Open a diffusers folder; raises `InputError` for one of another kind, with missing parts or pickles.

    `tokenizer` stands in for the first text encoder's, `prediction_type` and `zero_snr` for what its scheduler says.
    """
    index = read_config(folder / "model_index.json")
    if (pipeline := index.get("_class_name")) not in PIPELINES:
        raise InputError(
            f"{folder}: is a {pipeline or 'pipeline of no class'}; only {', '.join(sorted(PIPELINES))} can be exported"
        )
    parts = _parts(index)
    configs = {part: read_config(folder / part / "config.json") for part in parts}
    configs["scheduler"] = read_config(folder / "scheduler" / "scheduler_config.json")
    stated = {"prediction_type": prediction_type, "rescale_betas_zero_snr": zero_snr}
    configs["scheduler"] |= {name: value for name, value in stated.items() if value is not None}
    origin = {
        "checkpoint": folder.resolve().name,
        "format": "diffusers folder",
        "diffusers": str(index.get("_diffusers_version", "unknown")),
    }
    weights = {part: weight_files(folder / part, STEMS[part]) for part in parts}
    if variants := [f"{part} {weight.variant}" for part, weight in weights.items() if weight.variant]:
        origin["variants"] = ", ".join(variants)
    words = {part: folder / name for part, name in TOKENIZERS.items() if part in parts}
    if tokenizer:
        words[next(iter(words))] = tokenizer
    return Checkpoint(
        configs,
        words,
        lambda part: read_tensors(weights[part].files),
        origin,
        zero_empty_negative=SECOND in parts and bool(index.get("force_zeros_for_empty_prompt", True)),
        files=tuple(file for weight in weights.values() for file in weight.files),
    )


def _parts(index: Mapping[str, Any]) -> list[str]:
    """The parts of a diffusers pipeline; only those of XL have a second text encoder, and may lack the first."""
    if "XL" not in str(index.get("_class_name")):
        return [part for part in STEMS if part != SECOND]
    there = [part for part in STEMS if part not in TOKENIZERS or (index.get(part) or [None])[0] is not None]
    if not TOKENIZERS.keys() & set(there):
        raise InputError("model_index.json: names no text encoder; copy the whole checkpoint again")
    return there


def read_config(path: Path) -> dict[str, Any]:
    """A configuration, its class's name as a text: a custom class is a list, the module that holds it and its name."""
    config = read_json(path)
    name = config.pop("_class_name", None)
    if isinstance(name, list):
        name = name[-1] if name else None
    return config if name is None else {**config, "_class_name": name}


def refuse_pickle(path: Path) -> NoReturn:
    """Raise the `InputError` for weights that are stored as a pickle."""
    raise InputError(
        f"{path}: is a pickle, and loading one can run any code hidden in it; convert it to .safetensors on a machine "
        "you can afford to lose, or fetch the checkpoint's .safetensors edition"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises `InputError` naming the file where that fails."""
    try:
        record = json.loads(decode(path.read_bytes()))
    except FileNotFoundError as exc:
        raise InputError(
            f"{path}: is missing; a diffusers folder has model_index.json and a config in each of "
            "its parts: copy the whole checkpoint again"
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


def read_metadata(path: Path) -> Mapping[str, str]:
    """The texts in the header of a .safetensors file; raises `InputError` as `read_tensors` does."""
    try:
        with safe_open(path, framework="pt") as stream:
            return dict(stream.metadata() or {})
    except (OSError, SafetensorError) as exc:
        raise InputError(f"{path}: cannot be read as safetensors ({exc}); copy the checkpoint again") from exc


@dataclass(frozen=True)
class Weights:
    """The files that hold a part's weights, and the variant that they are: fp16, non_ema, or "" for the plain one."""

    files: list[Path]
    variant: str


def weight_files(folder: Path, stem: str) -> Weights:
    """The plain weights of a part; without them the fp16 variant, or the only other one."""
    # fp16 comes before or after "index" with the libraries' versions, and names may be in capitals.
    pattern = re.compile(rf"{stem}(?:\.(\w+))?\.safetensors(\.index(?:\.(\w+))?\.json)?", re.IGNORECASE)
    variants: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # a whole file before an index of shards
        if match := pattern.fullmatch(path.name):
            variants[(match[1] or match[3] or "").lower()] = path
    for variant in ("", "fp16"):
        if variant in variants:
            return Weights(_files(variants[variant]), variant)
    if len(variants) == 1:
        ((variant, path),) = variants.items()
        return Weights(_files(path), variant)
    if variants:
        raise InputError(
            f"{folder}: has only variants of {stem}.safetensors ({', '.join(sorted(variants))}); rename the one to "
            f"export to {stem}.safetensors"
        )
    if pickles := sorted(path for path in folder.iterdir() if path.suffix.lower() in PICKLES):
        refuse_pickle(pickles[0])
    raise InputError(f"{folder}: has no {stem}.safetensors; copy the whole checkpoint again")


def _files(path: Path) -> list[Path]:
    return [path.with_name(name) for name in _shards(path)] if path.suffix.lower() == ".json" else [path]


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
    """Raise `ExportError` where a part's weights are not those its configuration asks for."""
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


def summary(names: Iterable[str]) -> str:
    """Names of tensors as text: those that begin alike as one, with their count."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name.partition(".")[0], []).append(name)
    return ", ".join(f"{first}.* ({len(all_)})" if len(all_) > 1 else all_[0] for first, all_ in groups.items())
