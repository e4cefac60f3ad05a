"""What adapters cost a step on OpenVINO: absent, a ControlNet, a LoRA by inputs and merged; and forecast steps.

python -m benchmarks.full_size DIR --vae tiny --keep --weights float16 --lora
python -m benchmarks.full_size DIR --vae tiny --weights float16 --adapters control image --name adapted --controlnet
python -m benchmarks.adapters --plain DIR/sd15-tiny-vae --adapted DIR/adapted --controlnet DIR/controlnet --write
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import overpaint
from benchmarks.memory import held
from benchmarks.peers.adapters.graph import unet
from benchmarks.peers.work import Work
from benchmarks.report import in_turn, publish, table, writer
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.tensor import Array
from overpaint.loras.weights import LoraUse
from overpaint.runtime.conditioning.lora.library import LoraLibrary
from overpaint.runtime.conditioning.low_rank import LowRank, LowRankInputs
from overpaint.runtime.denoising.rows import Row, RowControl
from overpaint.runtime.model.loras import lora_layers

RANK = 32
LOADING: dict[str, Any] = {"engine": "openvino", "shapes": "static", "verify": False}
Rows = Sequence[Row]


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--plain", type=Path, required=True, help="a bundle of `export --lora`")
    parser.add_argument("--adapted", type=Path, required=True, help="the same of `export --adapters control image`")
    parser.add_argument("--controlnet", type=Path, required=True, help="a ControlNet's bundle")
    parser.add_argument("--size", type=int, default=512, help="pixels a side (512)")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of steps (7)")
    parser.add_argument("--forecasts", type=int, nargs="*", default=[2, 3], help="N of forecast:N (2 3)")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = ["first", "second"]
        write_loras(given.plain, Path(folder), names)
        rows = [*adapters(given), *loras(given, names, Path(folder)), *merged(given, names, Path(folder))]
    rows += forecasts(given)
    one, _, fifteen = os.getloadavg()
    body = (
        f"{table(('what', 'measured', 'beside'), rows)}\n\nSteps of two rows at {given.size} x {given.size} on "
        f"OpenVINO in bfloat16, static shapes: medians of the ratios of {given.repeats} pairs, in turn, the least "
        f"in brackets. The load average was {one:.1f} at the end, {fifteen:.1f} in its last 15 minutes."
    )
    name = given.plain.name
    publish("adapters", name, f"Adapters of {name}", body, "openvino", write=given.write)


def write_loras(bundle: Path, folder: Path, names: Sequence[str]) -> None:
    """LoRAs of rank 32 of all the layers of a denoiser that `export --lora` made, by their names."""
    graphs = Bundle.read(bundle, verify=False).graphs.values()
    layers = next(graph.low_rank for graph in graphs if graph.role == "denoiser_lora")
    sizes: dict[str, tuple[int, int]] = {}
    for layer in layers:
        sizes[layer.name] = layer.inputs, max(sizes.get(layer.name, (0, 0))[1], layer.first + layer.outputs)
    rng = np.random.default_rng(0)
    for name in names:
        tensors = {}
        for layer, (inputs, outputs) in sizes.items():
            for factor, shape in (("down", (RANK, inputs)), ("up", (outputs, RANK))):
                drawn = rng.standard_normal(shape, np.float32) * np.float32(0.1 * shape[1] ** -0.5)
                tensors[f"lora_unet_{layer.replace('.', '_')}.lora_{factor}.weight"] = drawn
        save_file(tensors, folder / f"{name}.safetensors")


def feeds_of(given: argparse.Namespace) -> list[dict[str, Array]]:
    """The inputs of two rows without adapters."""
    arrays = unet(given.plain, Work("", given.size, 1, 1.0, 7.5, 0, 1, 1), 2)[1]
    each = [{name: array[row] for name, array in arrays.items()} for row in range(2)]
    return [{**own, "timestep": own["timestep"].reshape(1)} for own in each]


def evaluated(pipe: overpaint.Pipeline, rows: Rows) -> Callable[[], list[Array]]:
    """A step of these rows."""
    return lambda: [made["model_output"] for made in pipe.denoiser(rows)]


def ratio(given: argparse.Namespace, base: Callable[[], object], other: Callable[[], object]) -> str:
    """The second's time by the first's."""
    pairs = [own / plain for plain, own in zip(*in_turn([base, other], given.repeats), strict=True)]
    return f"{statistics.median(pairs):.3f} ({min(pairs):.3f})"


def adapters(given: argparse.Namespace) -> list[tuple[str, str, str]]:
    """A graph that takes adapters, without any and with a ControlNet."""
    feeds = feeds_of(given)
    plain = overpaint.load(given.plain, **LOADING)
    adapted = overpaint.load(given.adapted, **LOADING, controlnets={"net": given.controlnet})
    base, absent = (evaluated(pipe, list(map(Row, feeds))) for pipe in (plain, adapted))
    equal = all(map(np.array_equal, base(), absent()))
    net = adapted.model.stages.controlnets.get("net")
    hint = np.random.default_rng(0).random((3, given.size, given.size), np.float32)
    control = RowControl(net.denoiser, {"hint": hint}, (1.0,) * len(net.bundle.model.channels))
    controlled = evaluated(adapted, [Row(own, controls=[control]) for own in feeds])
    made = [
        ("adapters absent", ratio(given, base, absent), f"the graph without inputs for them; bit-equal: {equal}"),
        ("one ControlNet", ratio(given, absent, controlled), "the same graph without"),
    ]
    for pipe in (plain, adapted):
        pipe.close()
    return made


def loras(given: argparse.Namespace, names: Sequence[str], folder: Path) -> list[tuple[str, str, str]]:
    """LoRAs as inputs: a step, and what a change of them costs."""
    feeds = feeds_of(given)
    with overpaint.load(given.plain, **LOADING, loras=folder) as pipe:
        plain = evaluated(pipe, list(map(Row, feeds)))
        plain()
        before = held()
        first, second = ([Row(own, low_rank=pipe.model.low_rank([LoraUse(name)])) for own in feeds] for name in names)
        steps = evaluated(pipe, first), evaluated(pipe, second)
        steps[0]()
        more = held() - before
        made = [
            (f"a LoRA of rank {RANK} by inputs", ratio(given, plain, steps[0]), "the graph without inputs for it"),
            ("another LoRA each step", ratio(given, steps[0], _by_turns(steps)), "the same each step"),
            (
                "inputs of another LoRA",
                f"{1000 * _switch(first, second):.2f} ms",
                "in memory, of the host's time alone",
            ),
            ("memory for the graph with LoRAs", f"{more / 1000:.2f} GB", f"before {before / 1000:.2f} GB, resident"),
        ]
        library = LoraLibrary(lora_layers(pipe.bundle, "inputs"))
        library.add([folder])
        start = time.perf_counter()
        library.use(LoraUse(names[0]))
        spent = time.perf_counter() - start
        made.append(("a LoRA's file", f"{spent:.2f} s", "read, checked and fitted, when it is first named"))
    return made


def _by_turns(steps: Sequence[Callable[[], object]]) -> Callable[[], object]:
    count = iter(range(10**9))
    return lambda: steps[(next(count) + 1) % 2]()


def _switch(first: Rows, second: Rows) -> float:
    """Seconds that making the inputs of a call takes with LoRAs by turns."""
    inputs, times = LowRankInputs("cpu"), []
    for index in range(20):
        start = time.perf_counter()
        inputs([[each for each in row.low_rank if isinstance(each, LowRank)] for row in (first, second)[index % 2]])
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def merged(given: argparse.Namespace, names: Sequence[str], folder: Path) -> list[tuple[str, str, str]]:
    """LoRAs merged at load: the first step of a selection, the others, and back again."""
    feeds = feeds_of(given)
    with overpaint.load(given.plain, **LOADING, loras=folder, lora_mode="merged") as pipe:
        plain = evaluated(pipe, list(map(Row, feeds)))
        start = time.perf_counter()
        plain()
        opened, before = time.perf_counter() - start, held()
        steps = [
            evaluated(pipe, [Row(own, low_rank=pipe.model.low_rank([LoraUse(name, w, w)])) for own in feeds])
            for name, w in [(names[0], 1.0), (names[1], 1.0), (names[1], 0.5)]
        ]
        start = time.perf_counter()
        first = steps[0]()
        spent, more = time.perf_counter() - start, held() - before
        cost = ratio(given, plain, steps[0])
        for step in steps[1:]:
            step()
        equal = all(map(np.array_equal, first, steps[0]()))
    return [
        (f"a LoRA of rank {RANK} merged at load", cost, "the graph without"),
        ("its first step", f"{spent:.1f} s", f"of the graph without {opened:.1f} s"),
        ("memory for a merged graph", f"{more / 1000:.2f} GB", f"before {before / 1000:.2f} GB, resident"),
        ("A, B, another B, A opened anew", f"bit-equal: {equal}", "A's first"),
    ]


def forecasts(given: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Steps of which every N-th is computed."""
    picture = np.random.default_rng(0).integers(0, 256, (given.size, given.size, 3), np.uint8)
    made = []
    with overpaint.load(given.plain, **LOADING) as pipe:

        def spent(cache: str | None) -> float:
            options = {"steps": given.steps, "strength": 1.0, "sampler": "ddim", "seed": 1, "guidance_scale": 7.5}
            return float(pipe(picture, "a fox", **options, cache=cache).timings["denoise"])

        spent("forecast:10")
        for every in given.forecasts:
            own = spent(f"forecast:{every}")
            made.append((f"forecast:{every}, {given.steps} steps of ddim", f"{spent(None) / own:.2f} times", "as fast"))
    return made


if __name__ == "__main__":
    main()
