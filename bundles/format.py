"""The manifest's file: its formats, how it is read and written, and what an older one means in the newest format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BundleError, NoBundleError
from .graph import DENOISER
from .textfile import decode

# 2 brought `conditioning_channels` and `kind`, 3 `default_schedule` and `defaults`, 4 the `role` of each graph and the
# `encoders`, with a tokenizer each, 5 the `adapters` of a graph; older manifests are read with what these are where
# nothing is said.
FORMAT = 5
MANIFEST = "bundle.json"
# What a bundle may be, in words, and what makes one. A manifest that does not say is a model's.
KINDS = {
    "model": ("a model", "overpaint export"),
    "upscaler": ("an upscaler", "overpaint export-upscaler"),
    "controlnet": ("a ControlNet", "overpaint export-controlnet"),
    "image-prompt": ("an image-prompt adapter", "overpaint export-image-prompt"),
}
# Before format 4 a graph's name told its role; all but this one had the role's name.
_ROLES = {"unet": DENOISER}


def write_manifest(folder: Path, kind: str, bundle: Mapping[str, Any]) -> None:
    """Write the fields of a bundle, but for its folder, as the manifest of a kind in `KINDS`."""
    record = {"format": FORMAT, "kind": kind, **{key: value for key, value in bundle.items() if key != "folder"}}
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """The manifest of a bundle of this kind; raises `BundleError` where there is none, or it is of another."""
    wanted, command = KINDS[kind]
    record = read_any(folder, command)
    if (other := str(kind_of(record))) in KINDS and other != kind:
        own = KINDS[other][0]
        raise BundleError(f"{folder}: is {own}, not {wanted}; name it as {own}")
    if other != kind:
        raise BundleError(f"{folder}: is of a kind {other!r} that this version does not know; update overpaint")
    return record


def kind_of(record: Mapping[str, Any]) -> Any:
    """Of which kind a manifest is."""
    return record.get("kind", "model")


def read_any(folder: Path, command: str = "overpaint export") -> dict[str, Any]:
    """The manifest of a bundle of any kind; raises `BundleError` where there is none, or it is newer.

    `command` is what makes one, for the message.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise NoBundleError(f"{folder}: no such bundle; make one with `{command} CHECKPOINT {folder}`")
    if not path.is_file():
        raise NoBundleError(
            f"{folder}: not a bundle, it has no {MANIFEST}; make one with `{command} CHECKPOINT BUNDLE`"
        )
    try:
        record = json.loads(decode(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as exc:
        raise BundleError(f"{path}: not readable as JSON ({exc}); export the bundle again") from exc
    if not isinstance(record, dict) or type(record.get("format")) is not int or record["format"] < 1:
        raise BundleError(f"{path}: not a bundle's manifest; export the bundle again")
    if record["format"] > FORMAT:
        raise BundleError(
            f"{path}: format {record['format']} is newer than {FORMAT}, which this version reads; update overpaint"
        )
    return record


def upgrade(record: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest as one of the newest format; raises as Python does where a field is missing or wrong.

    Before format 4 a bundle had one text encoder, and one tokenizer outside the model's facts.
    """
    if record["format"] >= 4:
        return dict(record)
    graphs = {name: {"role": _ROLES.get(name, name), **graph} for name, graph in record["graphs"].items()}
    model = dict(record["model"])
    if kind_of(record) == "model":
        encoder = {"graph": "text_encoder", "tokenizer": record["tokenizer"], "hidden": "embeddings", "pooled": None}
        model["encoders"] = [encoder]
    return {**record, "model": model, "graphs": graphs}
