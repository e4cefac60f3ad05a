"""How exact group norms are on flat areas: as they are exported, centred beforehand, and in torch; and what that costs.

An exported group norm is InstanceNormalization. Where a channel hardly varies, its deviation is what is left of two
large numbers, and their rounding in float32 shows. A mean that is taken out beforehand leaves small numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.report import in_turn, publish, table, writer

GROUPS, SHAPE, EPSILON = 8, (1, 32, 64, 64), 1e-5
LEVELS = ((0, 1.0), (5, 1.0), (5, 0.1), (5, 0.01), (20, 0.01))
BUNDLE, CHECKPOINT = "models/tiny", "models/tiny-checkpoint"

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--repeats", type=int, default=40)
    given = parser.parse_args()
    columns = [*engines(norm(False), "as exported"), *engines(norm(True), "centred"), "torch"]
    norms_table = table(("mean, deviation", *columns), norms())
    tiny_columns = ("engine", "encoder, as exported", "encoder, centred", "U-Net, centred / as exported")
    tiny_table = table(tiny_columns, tiny(given.repeats))
    body = (
        f"The largest error to float64 of a float32 norm of {SHAPE[1]} channels of {SHAPE[2]}x{SHAPE[3]} in {GROUPS} "
        f"groups, its inputs normal with a mean and a deviation:\n\n{norms_table}\n\n"
        "In tiny, as exported and with every norm centred: the largest error of the VAE encoder to float64 on a grey "
        f"picture, of latents up to 42, and the time of a U-Net call, 8x8 latents, 2 rows:\n\n{tiny_table}\n\n"
        "So a norm can be exact in float32, but little is gained: on a flat picture the rounding of the convolutions, "
        "which differs from place to place, is of the same size, far below a level of 8 bits. Graphs stay as they are."
    )
    title = "Group norms on flat areas"
    publish("engines", "group-norms", title, body, "onnxruntime", "openvino", "torch", write=given.write)


def norms() -> list[tuple[str, ...]]:
    random, rows = np.random.default_rng(0), []
    models = [run for graph in (norm(False), norm(True)) for run in engines(graph, "").values()]
    for mean, deviation in LEVELS:
        x = (mean + deviation * random.standard_normal(SHAPE)).astype(np.float32)
        exact = torch.nn.functional.group_norm(torch.from_numpy(x).double(), GROUPS, eps=EPSILON).numpy()
        own = torch.nn.functional.group_norm(torch.from_numpy(x), GROUPS, eps=EPSILON).numpy()
        results = [*(run({"x": x}) for run in models), own]
        rows.append((f"{mean}, {deviation:g}", *(f"{np.abs(result - exact).max():.1e}" for result in results)))
    return rows


def tiny(repeats: int) -> list[tuple[str, ...]]:
    from diffusers import AutoencoderKL

    grey = np.full((1, 3, 64, 64), 0.3, np.float32)
    vae = AutoencoderKL.from_pretrained(f"{CHECKPOINT}/vae").double()
    with torch.no_grad():
        exact = vae.encode(torch.from_numpy(grey).double()).latent_dist.mean.numpy()
    encoder, unet = (onnx.load(f"{BUNDLE}/{name}.onnx") for name in ("vae_encoder", "unet"))
    text = unet.graph.input[2].type.tensor_type.shape.dim[2].dim_value
    random = np.random.default_rng(0)
    feeds = {
        "sample": random.standard_normal((2, 4, 8, 8)).astype(np.float32),
        "timestep": np.full(2, 500, np.float32),
        "encoder_hidden_states": random.standard_normal((2, 77, text)).astype(np.float32),
    }
    rows = []
    pairs = {name: (run, engines(centred(encoder), "")[name]) for name, run in engines(encoder, "").items()}
    calls = {name: (run, engines(centred(unet), "")[name]) for name, run in engines(unet, "").items()}
    for name, both in pairs.items():
        errors = [f"{np.abs(run({'pixels': grey}) - exact).max():.1e}" for run in both]
        times = in_turn([lambda run=run: run(feeds) for run in calls[name]], repeats)
        ratio = statistics.median(after / before for before, after in zip(*times, strict=True))
        rows.append((name, *errors, f"{ratio:.2f}"))
    return rows


def norm(centre: bool) -> onnx.ModelProto:
    """A group norm as it is exported, or centred."""
    shapes = (("flat", [0, GROUPS, -1]), ("back", [0, SHAPE[1], *SHAPE[2:]]))
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("InstanceNormalization", ["rows", "one", "zero"], ["normed"], epsilon=EPSILON),
        helper.make_node("Reshape", ["normed", "back"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes]
    constants += [
        numpy_helper.from_array(np.full(GROUPS, value, np.float32), name) for name, value in (("one", 1), ("zero", 0))
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "norm", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return centred(model) if centre else model


def centred(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph whose instance norms get their input without its mean."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = list(made.graph.node)
    del made.graph.node[:]
    made.graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), "last_axis"))
    for index, node in enumerate(nodes):
        if node.op_type == "InstanceNormalization":
            mean, rest = f"mean_{index}", f"rest_{index}"
            made.graph.node.append(helper.make_node("ReduceMean", [node.input[0], "last_axis"], [mean], keepdims=1))
            made.graph.node.append(helper.make_node("Sub", [node.input[0], mean], [rest]))
            node.input[0] = rest
        made.graph.node.append(node)
    return made


def engines(model: onnx.ModelProto, suffix: str) -> dict[str, Run]:
    """What runs a graph in float32 and gives its first output, by the engine's name."""
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content)
    core = openvino.Core()
    compiled: Any = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        f"onnxruntime {suffix}".strip(): lambda feeds: session.run(None, feeds)[0],
        f"openvino {suffix}".strip(): lambda feeds: compiled(feeds)[0],
    }


if __name__ == "__main__":
    main()
