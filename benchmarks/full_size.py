"""Make a bundle of the full-size Stable Diffusion 1.5 configuration with seeded random weights, to measure on.

python -m benchmarks.full_size DIR                      # about 9 GB on disk while it runs, 4.3 GB after
python -m benchmarks.full_size DIR --keep --vae tiny    # with the checkpoint, for benchmarks.peers
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from overpaint.export import export_bundle
from tests.support.checkpoints import sd15_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", choices=("float32", "float16"), default="float32")
    parser.add_argument("--vae", choices=("kl", "tiny"), default="kl", help="AutoencoderKL or AutoencoderTiny (kl)")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint beside the bundle")
    given = parser.parse_args()
    name = "sd15" if given.vae == "kl" else "sd15-tiny-vae"
    checkpoint = sd15_checkpoint(given.folder / f"{name}-checkpoint", vae=given.vae)
    export_bundle(checkpoint, given.folder / name, precision=given.precision, report=print)
    if not given.keep:
        shutil.rmtree(checkpoint)


if __name__ == "__main__":
    main()
