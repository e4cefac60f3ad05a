"""The service under load, beside a lock around every request and beside batches of whole requests.

python -m benchmarks.serving h200                       # the fake engine at the measured cost of an H200
python -m benchmarks.serving engines                    # tiny, on the engines that run here
python -m benchmarks.serving engines --model DIR --size 512 --count 6 --steps 1 4 --loads
python -m benchmarks.serving peers                      # tiny behind HTTP, beside other runtimes behind the same calls
python -m benchmarks.serving server                     # what HTTP adds, and what idle listeners cost
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.report import RESULTS, writer

from . import peers, server
from .load import Mix
from .sections import Plan, engines, h200


def main() -> None:
    parser = _parser()
    given = parser.parse_args()
    plan = Plan(given.count, given.repeats, given.arrivals, tuple(given.loads), given.seed, given.plots, given.write)
    mix = Mix(given.size, tuple(given.steps))
    match given.what:
        case "h200":
            h200(plan, mix, given.rows)
        case "engines":
            engines(plan, mix, given.model, given.engines)
        case "peers":
            peers.compare(plan, mix, given.only)
        case "server":
            server.publish_overhead(given.repeats * 40, given.listeners, given.write)


def _parser() -> argparse.ArgumentParser:
    parser = writer()
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=("h200", "engines", "peers", "server"))
    parser.add_argument("--model", default="tiny", help="a bundle (tiny)")
    parser.add_argument("--engines", nargs="+", default=["openvino", "onnxruntime"], metavar="NAME")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (64)")
    parser.add_argument("--steps", type=int, nargs=2, default=(1, 30), help="steps of a job, from and to (1 30)")
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 32], help="rows a call at most (16 32)")
    parser.add_argument("--count", type=int, default=300, help="jobs sent at once (300)")
    parser.add_argument("--repeats", type=int, default=3, help="of these, each way in turn (3)")
    parser.add_argument("--arrivals", type=int, default=300, help="jobs of a Poisson process (300)")
    parser.add_argument("--loads", type=float, nargs="*", default=[0.5, 0.8, 0.95, 1.2], help="shares of the capacity")
    parser.add_argument("--listeners", type=int, default=1000)
    parser.add_argument("--only", nargs="+", metavar="PEER", help="of the peers these alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plots", type=Path, default=RESULTS, help="a folder for the plots (benchmarks/results)")
    return parser


if __name__ == "__main__":
    main()
