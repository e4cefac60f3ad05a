"""Make a bundle of a full-size configuration with seeded random weights, to measure on, and say what the export took.

python -m benchmarks.full_size DIR                      # about 9 GB on disk while it runs, 4.3 GB after
python -m benchmarks.full_size DIR --keep --vae tiny    # with the checkpoint, for benchmarks.peers
python -m benchmarks.full_size DIR --family sdxl        # 14 GB while it runs, 7 GB after
python -m benchmarks.full_size DIR --controlnet         # a ControlNet of sd15 too, under DIR/controlnet
python -m benchmarks.full_size DIR --lora --adapters control image   # what is not known here goes to `overpaint export`
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

from tests.support.checkpoints import sd15_checkpoint, sd15_controlnet
from tests.support.full_size import FAMILIES, export_apart, full_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--family", choices=("sd15", *FAMILIES), default="sd15")
    parser.add_argument("--vae", choices=("kl", "tiny"), default="kl", help="of sd15: AutoencoderKL or AutoencoderTiny")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint beside the bundle")
    parser.add_argument("--name", help="of the bundle's folder (that of the configuration)")
    parser.add_argument("--controlnet", action="store_true", help="of sd15: make a ControlNet's bundle as well")
    given, options = parser.parse_known_args()
    name = f"{given.family}{'' if given.vae == 'kl' else '-tiny-vae'}"
    checkpoint = given.folder / f"{name}-checkpoint"
    if not checkpoint.exists():
        if given.family == "sd15":
            sd15_checkpoint(checkpoint, vae=given.vae)
        else:
            full_size(checkpoint, given.family)
    _export(checkpoint, given.folder / (given.name or name), *options)
    if given.controlnet:
        net = sd15_controlnet(given.folder / "controlnet-checkpoint")
        _export(net, given.folder / "controlnet", "--weights", "float16", command="export-controlnet")
        shutil.rmtree(net)
    if not given.keep:
        shutil.rmtree(checkpoint)


def _export(checkpoint: Path, bundle: Path, *options: str, command: str = "export") -> None:
    start = time.monotonic()
    peak = export_apart(checkpoint, bundle, *options, command=command)
    print(f"{bundle.name}: exported in {time.monotonic() - start:.0f} s, peak resident memory {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
