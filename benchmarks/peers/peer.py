"""Who is measured, and how each is installed, loaded and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OURS = "overpaint"
RAW = "OpenVINO alone"
RAW_CUDA = "ONNX Runtime alone"
FLOOR = "matrix products"
GENAI = "openvino-genai"
DIFFUSERS = "diffusers"
CACHED = "the first process compiles, later ones find its kernels in torch's cache on disk"
COMPILED = {mode: f"bf16, torch.compile {mode}" for mode in ("reduce-overhead", "max-autotune")}


@dataclass(frozen=True)
class Venv:
    """An environment of its own, for a library that does not go with the others."""

    name: str
    requirements: tuple[str, ...]


@dataclass(frozen=True)
class Peer:
    """One row of the table.

    `folder` is what its adapter loads: the bundle, the checkpoint, or what `prepare` of the adapter `converter` makes
    of the checkpoint. `remark` says what is not alike.
    """

    name: str
    precision: str
    adapter: str
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    converter: str | None = None
    venv: Venv | None = None
    remark: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} {self.precision}"


OPTIMUM = Venv(
    "optimum", ("optimum-onnx", "onnxruntime", "onnx", "torch==2.13.0", "diffusers<0.37", "transformers<4.58")
)
SDCPP = Venv("sdcpp", ("stable-diffusion-cpp-python", "numpy"))


def peers(checkpoint: Path, bundles: Sequence[tuple[str, Path, Mapping[str, Any]]], made: Path) -> list[Peer]:
    """Everyone, in the order they are measured. `bundles` are (precision, folder, arguments of `load`) of overpaint;
    what peers make of the checkpoint goes into `made`."""
    first = bundles[0][1]
    return [
        Peer(FLOOR, "all", "floor", checkpoint),
        *(Peer(RAW, name, "raw", first, {"precision": name}) for name in ("f32", "bf16")),
        *(Peer(OURS, precision, "ours", folder, options) for precision, folder, options in bundles),
        *_genai(made),
        Peer(DIFFUSERS, "f32", "eager", checkpoint, {"dtype": "float32"}),
        Peer(DIFFUSERS, "bf16", "eager", checkpoint, {"dtype": "bfloat16"}),
        Peer(DIFFUSERS, "bf16, channels last", "eager", checkpoint, {"dtype": "bfloat16", "channels_last": True}),
        Peer(
            DIFFUSERS,
            "bf16, torch.compile",
            "eager",
            checkpoint,
            {"dtype": "bfloat16", "compiled": "default"},
            remark=CACHED,
        ),
        Peer("optimum-onnx", "f32", "optimum", made / "optimum", converter="optimum", venv=OPTIMUM),
        *_sdcpp(made),
    ]


def gpu_peers(checkpoint: Path, bundles: Sequence[tuple[str, Path, Mapping[str, Any]]]) -> list[Peer]:
    """Everyone on a GPU, as `peers`."""
    kinds: dict[str, dict[str, Any]] = {
        "f32": {"dtype": "float32"},
        "f16, channels last": {"dtype": "float16", "channels_last": True},
        "bf16": {"dtype": "bfloat16"},
        "bf16, channels last": {"dtype": "bfloat16", "channels_last": True},
        **{
            precision: {"dtype": "bfloat16", "channels_last": True, "compiled": mode}
            for mode, precision in COMPILED.items()
        },
    }
    return [
        Peer(RAW_CUDA, bundles[0][0], "raw_cuda", bundles[0][1]),
        *(Peer(OURS, precision, "ours", folder, options) for precision, folder, options in bundles),
        *(
            Peer(
                DIFFUSERS,
                precision,
                "eager",
                checkpoint,
                {**options, "device": "cuda"},
                remark=CACHED if "compiled" in options else "",
            )
            for precision, options in kinds.items()
        ),
    ]


def _genai(made: Path) -> list[Peer]:
    kinds = {
        "f32": ("float32", "f32"),
        "bf16": ("float16", "bf16"),
        "bf16, int8 weights": ("int8", "bf16"),
        "int8": ("ptq", "bf16"),
    }
    return [
        Peer(
            GENAI,
            precision,
            "genai",
            made / f"genai-{weights}",
            {"weights": weights, "precision": hint},
            converter="genai",
            remark="U-Net quantised by NNCF as it comes; the VAE and the text encoder are bf16"
            if weights == "ptq"
            else "",
        )
        for precision, (weights, hint) in kinds.items()
    ]


def _sdcpp(made: Path) -> list[Peer]:
    remark = "knows the shapes of 1.5 only; its tokenizer is its own, so the prompt's tokens differ"
    return [
        Peer(
            "stable-diffusion.cpp",
            precision,
            "sdcpp",
            made / "single-file",
            {"weights": precision},
            converter="single_file",
            venv=SDCPP,
            remark=remark,
        )
        for precision in ("f16", "q8_0")
    ]
