"""OpenVINO alone on a bundle's own U-Net graph, with every shape fixed: what no runtime on top of it can beat."""

from __future__ import annotations

from pathlib import Path

import openvino as ov

from benchmarks.peers.work import Loaded, Work

from .graph import unet


def load(folder: Path, work: Work, *, precision: str) -> Loaded:
    together, apart = _request(folder, work, precision, work.rows), _request(folder, work, precision, 1)

    def row_by_row() -> None:
        for _ in range(work.rows):
            apart.infer()

    return Loaded(None, {"unet in one call": together.infer, "unet row by row": row_by_row})


def _request(folder: Path, work: Work, precision: str, rows: int) -> ov.InferRequest:
    path, arrays = unet(folder, work, rows)
    core = ov.Core()
    model = core.read_model(path)
    model.reshape({name: array.shape for name, array in arrays.items()})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    for name, array in arrays.items():
        request.set_tensor(name, ov.Tensor(array))
    return request
