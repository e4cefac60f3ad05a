"""OpenVINO alone on a bundle's own U-Net graph, with every shape fixed: what no runtime on top of it can beat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov

from benchmarks.peers.work import Loaded, Work
from overpaint.engines.bundle import Bundle


def load(folder: Path, work: Work, *, precision: str) -> Loaded:
    bundle = Bundle.read(folder, verify=False)
    together, apart = _request(bundle, work, precision, work.rows), _request(bundle, work, precision, 1)

    def row_by_row() -> None:
        for _ in range(work.rows):
            apart.infer()

    return Loaded(None, {"unet in one call": together.infer, "unet row by row": row_by_row})


def _request(bundle: Bundle, work: Work, precision: str, rows: int) -> ov.InferRequest:
    graph = bundle.graph("unet")
    core = ov.Core()
    model = core.read_model(bundle.folder / graph.file.path)
    side, tokens = work.size // bundle.model.downscale, graph.ranges["tokens"].usual
    lengths = {"rows": rows, "height": side, "width": side, "tokens": tokens}
    shapes = {
        spec.name: [lengths[axis] if isinstance(axis, str) else axis for axis in spec.axes] for spec in graph.inputs
    }
    model.reshape(shapes)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        request.set_tensor(name, ov.Tensor(rng.standard_normal(shape).astype(np.float32)))
    return request
