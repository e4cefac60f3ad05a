"""The layers of the package: who may import whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A package, or a file without its `.py`: what it is, and which other libraries it may import.

    Where `used_by` is given, no other part imports it.
    """

    name: str
    what: str
    libraries: str = ""
    used_by: str = ""


TORCH_SIDE = "numpy torch diffusers transformers nncf onnx onnxscript onnx_ir onnxruntime safetensors tokenizers"
LAYERS: Sequence[Sequence[Part]] = (
    (Part("errors", "one tree of exceptions"), Part("version", "the package's version")),
    (
        Part(
            "bundles",
            "the manifest, its roles and facts, tensors, profiles, the store of built engines",
            "numpy filelock",
        ),
    ),
    (Part("loras", "LoRA files: their tensors by a model's layers, and what they count", "numpy safetensors"),),
    (
        Part(
            "engines",
            "ort, openvino, tensorrt, fake: each runs a graph and knows nothing of diffusion",
            "numpy cupy onnxruntime openvino",
        ),
    ),
    (
        Part("export", "checkpoints, fusion, int8: the only place with torch", TORCH_SIDE, used_by="cli"),
        Part("runtime/units", "turns of work"),
        Part("runtime/progress", "parts done"),
        Part("runtime/nonfinite", "NaN"),
    ),
    (
        Part("runtime/conventions", "as others do it"),
        Part("runtime/imaging", "pixels, masks, tiles", "numpy PIL"),
    ),
    (Part("runtime/sampling", "a sampler compiles to a table, the plan", "numpy"),),
    (Part("runtime/conditioning", "prompts become inputs of rows", "numpy ftfy safetensors tokenizers"),),
    (
        Part("runtime/requests", "options, requests", "numpy PIL"),
        Part("runtime/denoising", "rows, jobs, the loop", "numpy PIL"),
    ),
    (Part("runtime/provenance", "records, and parameters as A1111 writes them", "numpy PIL"),),
    (Part("runtime/model", "stages, planning, the scheduler that owns the device", "numpy PIL"),),
    (Part("runtime/execution", "runs: tickets of several requests", "numpy"),),
    (Part("runtime/tools", "inpaint, outpaint, upscale, grid, batch", "numpy PIL"),),
    (Part("runtime/pipeline", "the face: a model's verbs", "numpy PIL"),),
    (
        Part("runtime/replay", "a record made again", "numpy PIL"),
        Part("runtime/diagnostics", "bench, verify, demo", "numpy PIL"),
    ),
    (Part("workflow", "graphs of nodes in ComfyUI's formats, on the model's stages", "numpy PIL"),),
    (Part("__init__", "the public names, each imported when it is first used"),),
    (
        Part(
            "serving",
            "jobs of many users, and HTTP interfaces to them",
            "numpy PIL ray starlette uvicorn prometheus_client opentelemetry httpcore2",
        ),
    ),
    (Part("cli", "a file a command", "numpy PIL tqdm shtab"),),
    (Part("__main__", "python -m overpaint"),),
)
"""From the bottom up. A file imports from its own part and from the layers below; the parts of a layer do not know one
another."""

BACKEND_LIBRARIES = {
    "cupy": "engines/arrays.py",
    "onnxruntime": "engines/ort/session.py",
    "openvino": "engines/openvino/library.py",
}
"""Libraries that one file alone imports, and the exporter."""

PARTS = {part.name: part for layer in LAYERS for part in layer}
HEIGHTS = {part.name: height for height, layer in enumerate(LAYERS) for part in layer}
