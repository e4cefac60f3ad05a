"""A model repository for Triton: a bundle, a configuration, and a model.py that hands on to this package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, unknown
from ..settings import read_settings

BUNDLE = "bundle"
"""The bundle's folder within a version."""

MEANT = (
    "engine", "device", "precision", "threads", "warm_up", "upscalers", "embeddings", "loras", "lora_partial",
    "lora_mode",
    "queue_limit", "timeout",
    "max_pixels", "max_depth", "max_images", "tool_threads", "drain_seconds",
)  # fmt: skip
"""Settings of the server that mean something here: Triton listens, and there is one model."""

MODEL = '''\
"""Hands Triton's requests to overpaint, where those in flight at once share the model's calls."""

import triton_python_backend_utils as triton

from overpaint.serving.triton.backend import Backend


class TritonPythonModel:
    """What Triton's python backend loads."""

    def initialize(self, args):
        self.backend = Backend.open(args, triton)

    def execute(self, requests):
        self.backend.execute(requests)  # answers come later, by each request's sender

    def finalize(self):
        self.backend.close()
'''

CONFIG = """\
# Requests are not batched here (max_batch_size is 0): those in flight at once share the model's calls row by row,
# whatever their sizes, steps and samplers. One instance a device is enough.
name: {name}
backend: "python"
max_batch_size: 0
input [
  {{ name: "image" data_type: TYPE_UINT8 dims: [ -1 ] }},
  {{ name: "prompt" data_type: TYPE_STRING dims: [ 1 ] optional: true }},
  {{ name: "strength" data_type: TYPE_FP32 dims: [ 1 ] optional: true }},
  {{ name: "options" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
]
output [
  {{ name: "image" data_type: TYPE_UINT8 dims: [ -1 ] }},
  {{ name: "parameters" data_type: TYPE_STRING dims: [ 1 ] }}
]
instance_group [ {{ count: 1 kind: {kind} }} ]
{parameters}"""


@dataclass(frozen=True)
class TritonModel:
    """One model of a repository: its name, its bundle's folder, and settings of the server as texts by name.

    Raises `InputError` for a name that is no folder's, and for a setting that is none or has no meaning here.
    """

    name: str
    bundle: Path
    settings: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.name or not all(each.isalnum() or each in "._-" for each in self.name) or self.name[0] == ".":
            raise InputError(f"{self.name!r} names no model; use letters, digits, '.', '_' and '-'", "name")
        for name in self.settings:
            if name not in MEANT:
                raise unknown("setting of a model in Triton", name, MEANT, name)
        read_settings(environment={}, flags=self.settings)

    @property
    def config(self) -> str:
        """The text of config.pbtxt."""
        kind = "KIND_GPU" if self.settings.get("device") == "cuda" else "KIND_CPU"
        parameters = "".join(
            f"parameters {{ key: {json.dumps(name)} value: {{ string_value: {json.dumps(text)} }} }}\n"
            for name, text in self.settings.items()
        )
        return CONFIG.format(name=json.dumps(self.name), kind=kind, parameters=parameters)

    def write(self, folder: Path) -> None:
        """Fill the model's folder: config.pbtxt, and version 1 with model.py and a copy of the bundle."""
        version = folder / "1"
        version.mkdir()
        (folder / "config.pbtxt").write_text(self.config, encoding="utf-8")
        (version / "model.py").write_text(MODEL, encoding="utf-8")
        shutil.copytree(self.bundle, version / BUNDLE)
