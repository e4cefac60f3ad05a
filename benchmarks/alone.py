"""A U-Net step of overpaint and of OpenVINO alone on the same graph, call by call in turn in one process.

Processes that run one after the other differ by more than the two do: see the sections beside peers.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.peers.adapters import ours, raw
from benchmarks.peers.work import Work
from benchmarks.report import in_turn, publish, table, writer

KINDS = ("overpaint", "OpenVINO alone")


def main() -> None:
    parser = writer()
    parser.description = __doc__
    parser.add_argument("--model", type=Path, default=Path("models/tiny"), help="a bundle's folder (models/tiny)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--repeats", type=int, default=100)
    given = parser.parse_args()
    work = Work("models/examples/fox.png", given.size, 20, 0.5, 7.5, 0, 1, 1)
    loaded = (
        ours.load(given.model, work, engine="openvino", precision="bfloat16", shapes="static"),
        raw.load(given.model, work, precision="bf16"),
    )
    times = in_turn([loaded[0].stages["unet"], loaded[1].stages["unet in one call"]], given.repeats)
    pairs = [mine / theirs for mine, theirs in zip(*times, strict=True)]
    rows = [(kind, f"{statistics.median(spent):#.4g}") for kind, spent in zip(KINDS, times, strict=True)]
    body = (
        table(("what runs it, bf16, static shapes", "a U-Net step of two rows, median s"), rows)
        + f"\n\nOf {given.repeats} calls each; median of the pairs' ratios {statistics.median(pairs):.3f}."
    )
    title = f"Beside OpenVINO alone, call by call: {given.model.name}, {given.size} x {given.size}"
    publish("cpu", f"alone-{given.model.name}-{given.size}", title, body, "openvino", write=given.write)


if __name__ == "__main__":
    main()
