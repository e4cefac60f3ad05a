"""What threads that call one pipeline gain by sharing its scheduler, and what one job alone loses to it.

python -m benchmarks.sharing                            # threads beside one after the other: fake engine, tiny
python -m benchmarks.sharing --model DIR --size 512     # the same at a bundle's size
python -m benchmarks.sharing --before CHECKOUT          # one job alone, paired with another version of overpaint
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import overpaint
from benchmarks.report import publish, table, writer
from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from tests.support.bundles import fake_bundle

ROOT = Path(__file__).parents[1]


class Counted(Wrapper):
    """Counts the calls of an engine and their rows; it may cost so much more a call and a row."""

    def __init__(self, engine: Engine, call: float = 0.0, row: float = 0.0) -> None:
        super().__init__(engine)
        self.rows: list[int] = []
        self._call, self._row = call, row

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        count = len(feeds["sample"])
        self.rows.append(count)
        if self._call:
            time.sleep(self._call + self._row * count)
        return super().__call__(feeds)


@dataclass(frozen=True)
class Measured:
    """What a way of asking for pictures came to; latencies from the moment when all were asked for."""

    calls: int
    rows: float
    seconds: float
    latencies: tuple[float, ...]

    def cells(self) -> list[str]:
        median, late = np.quantile(self.latencies, (0.5, 0.95))
        speed = len(self.latencies) / self.seconds
        return [str(self.calls), f"{self.rows:.2f}", f"{speed:.3g}", f"{median:.3g}", f"{late:.3g}"]


def measure(pipe: overpaint.Pipeline, users: int, ask: Callable[[int], Any], *, threads: bool) -> Measured:
    """`users` pictures, each asked for by a thread of its own or all by one, one after the other."""
    counted: Any = pipe.denoiser.engine
    before = len(counted.rows)
    begun = time.perf_counter()

    def latency(user: int) -> float:
        ask(user)
        return time.perf_counter() - begun

    if threads:
        with ThreadPoolExecutor(users) as pool:
            latencies = list(pool.map(latency, range(users)))
    else:
        latencies = [latency(user) for user in range(users)]
    rows = counted.rows[before:]
    return Measured(len(rows), statistics.mean(rows), time.perf_counter() - begun, tuple(latencies))


def compare(pipe: overpaint.Pipeline, size: int, users: int, steps: int, repeats: int, cost: Sequence[float]) -> Any:
    """The median run of each way, of `repeats` in turn after one that does not count."""
    pipe.denoiser.engine = Counted(pipe.denoiser.engine, *cost)
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)

    def ask(user: int) -> Any:
        # Prompts and pictures of their own: nothing comes from a cache but the empty negative prompt.
        own = picture + np.uint8(user)
        return pipe(own, f"fox {user} {len(made)}", steps=steps, strength=1.0, seed=user, convention="diffusers")

    made: list[dict[bool, Measured]] = []
    for repeat in range(repeats + 1):
        ways = (False, True) if repeat % 2 else (True, False)
        made.append({threads: measure(pipe, users, ask, threads=threads) for threads in ways})
    ratios = [each[False].seconds / each[True].seconds for each in made[1:]]
    middle = sorted(made[1:], key=lambda each: each[True].seconds)[(repeats - 1) // 2]
    return middle, statistics.median(ratios)


def sharing(given: Any) -> None:
    """Publish what threads gain."""
    cases: list[tuple[str, Callable[[], overpaint.Pipeline], int, tuple[float, ...]]] = []
    model = Path(given.model).name
    if given.model == "tiny":
        fake = partial(overpaint.load, fake_bundle(Path(tempfile.mkdtemp()) / "fake").folder, engine="fake")
        cases.append(("fake, 4 ms a call and 1 ms a row", fake, 64, (4e-3, 1e-3)))
    loads = {engine: partial(overpaint.load, given.model, engine=engine) for engine in given.engines}
    cases += [(f"{model}, {engine}", load, given.size, ()) for engine, load in loads.items()]
    rows, gains = [], []
    for name, load, size, cost in cases:
        with load() as pipe:
            middle, ratio = compare(pipe, size, given.users, given.steps, given.repeats, cost)
        rows += [(name, way, *middle[threads].cells()) for threads, way in ((False, "one by one"), (True, "threads"))]
        gains.append(f"{name}: {ratio:.2f}")
    header = ("engine", f"{given.users} pictures", "calls", "rows a call", "pictures a second", "p50, s", "p95, s")
    body = table(header, rows) + (
        f"\n\n{given.steps} evaluations a picture with guidance, {given.size} x {given.size} pixels, every picture "
        "with a prompt of its own; all are asked for at once, so that one by one the last one waits for all others. "
        f"Medians of {given.repeats} runs in turn; one by one to threads, seconds for all: {'; '.join(gains)}."
    )
    title = f"Sharing one pipeline: {given.users} threads, {model}"
    publish("engines", f"sharing-{model}", title, body, "openvino", "onnxruntime", write=given.write)


ALONE = """
import json, statistics, sys, time
import numpy as np
import overpaint
model, engine, size, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pipe = overpaint.load(model, engine=engine)
picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
for index in range(3):
    pipe(picture, "fox", steps=steps, strength=1.0, seed=index, convention="diffusers")
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    pipe(picture, "fox", steps=steps, strength=1.0, seed=7, convention="diffusers")
    print(time.perf_counter() - start, flush=True)
"""


def alone(given: Any) -> None:
    """Publish the ratio of one job's seconds to those of another checkout, picture by picture in turn."""
    engine = given.engines[0]
    with tempfile.TemporaryDirectory() as folder:
        roots = ROOT, given.before
        places = [Path(folder) / str(index) for index in range(2)]
        processes = [_worker(root, place, engine, given) for root, place in zip(roots, places, strict=True)]
        times: list[list[float]] = [[], []]
        for repeat in range(given.repeats):
            for index in (0, 1) if repeat % 2 else (1, 0):
                process = processes[index]
                assert process.stdin
                assert process.stdout
                process.stdin.write("go\n")
                process.stdin.flush()
                times[index].append(float(json.loads(process.stdout.readline())))
        for process in processes:
            process.communicate()
    ratios = [now / before for now, before in zip(*times, strict=True)]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    rows = [(name, f"{statistics.median(spent):.4g}") for name, spent in zip(("now", "before"), times, strict=True)]
    body = table(("overpaint", "a picture, median s"), rows) + (
        f"\n\n{given.repeats} pictures each, in turn in two processes; ratio now to before: median {middle:.3f}, half "
        f"of them from {low:.3f} to {high:.3f}."
    )
    name = Path(given.model).name
    title = f"One job alone, before and after the scheduler: {name}, {engine}"
    publish("engines", f"alone-before-{name}-{engine}", title, body, engine, write=given.write)


def _worker(root: Path, place: Path, engine: str, given: Any) -> subprocess.Popen[str]:
    """A process that runs the checkout at `root`, ready to be told to go."""
    place.mkdir()
    (place / "overpaint").symlink_to(root.resolve(), target_is_directory=True)
    command = [sys.executable, "-c", ALONE, str(given.model), engine, str(given.size), str(given.steps)]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--model", default="tiny", help="a bundle (tiny, and the fake engine)")
    parser.add_argument("--engines", nargs="+", default=["openvino", "onnxruntime"], metavar="NAME")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--users", type=int, default=8, help="threads (8)")
    parser.add_argument("--steps", type=int, default=10, help="evaluations a picture (10)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="compare one job alone with this version")
    given = parser.parse_args()
    alone(given) if given.before else sharing(given)


if __name__ == "__main__":
    main()
