"""Make a bundle of the full-size Stable Diffusion 1.5 configuration with seeded random weights, to measure on.

python -m benchmarks.full_size DIR      # about 9 GB on disk while it runs, 4.3 GB after
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from overpaint.export import export_bundle
from tests.checkpoints import sd15_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", choices=("float32", "float16"), default="float32")
    given = parser.parse_args()
    checkpoint = sd15_checkpoint(given.folder / "sd15-checkpoint")
    export_bundle(checkpoint, given.folder / "sd15", precision=given.precision, report=print)
    shutil.rmtree(checkpoint)


if __name__ == "__main__":
    main()
