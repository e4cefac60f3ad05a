"""ONNX Runtime alone on a bundle's own U-Net graph: its CUDA provider as it comes, all arrays on the GPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from benchmarks.peers.work import Loaded, Work

from .graph import unet


def load(folder: Path, work: Work) -> Loaded:
    onnxruntime.preload_dlls(directory="")
    path, arrays = unet(folder, work, work.rows)
    session = onnxruntime.InferenceSession(path, providers=["CUDAExecutionProvider"])
    binding = session.io_binding()
    for name, array in arrays.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", 0)
    return Loaded(None, {"unet": lambda: session.run_with_iobinding(binding)})
