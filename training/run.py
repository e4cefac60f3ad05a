"""The whole training in one command, resumed where it was stopped; see README.md.

``python -m training.run --npm DIR --work DIR`` on one device, ``torchrun --nproc-per-node 2 -m training.run ...`` with
one process a CPU core (threads that wait for each other at every small operation are slower).
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch
import torch.distributed as dist
from diffusers import AutoencoderKL
from torch import nn

from . import tokenizer, unet, vae
from .data import Pictures, build
from .loop import Budget, rank
from .publish import publish
from .samples import write_sheet
from .shapes import SHAPES, Shape

HELD_OUT = 17  # with --held-out every 17th picture is not trained on; the styles take turns


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--npm", type=Path, help="folder in which the packages of README.md are installed, to draw the pictures"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for caches, states and sample sheets")
    parser.add_argument("--out", type=Path, help="checkpoint folder (default: WORK/checkpoint)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads a process (default: torch's)")
    parser.add_argument("--shape", choices=SHAPES, default="tiny", help="the model: 64 or 128 pixels a side")
    parser.add_argument("--draw-only", action="store_true", help="draw the pictures and end")
    parser.add_argument("--held-out", action="store_true", help="keep some pictures out, and judge by them")
    parser.add_argument("--styles", nargs="+", default=["noto", "twemoji", "flat", "contrast", "sketch", "ink"])
    parser.add_argument(
        "--all-concepts", action="store_true", help="train the U-Net on all concepts, not only the core"
    )
    parser.add_argument("--vae-minutes", type=float, default=18)
    parser.add_argument("--unet-minutes", type=float, default=75)
    parser.add_argument("--decoder-minutes", type=float, default=10)
    parser.add_argument("--vae-rate", type=float, default=1.5e-3)
    parser.add_argument("--unet-rate", type=float, default=1.5e-3)
    parser.add_argument("--vae-batch", type=int, help="pictures a step (default: the shape's)")
    parser.add_argument("--unet-batch", type=int, help="pictures a step (default: the shape's)")
    return parser.parse_args()


def pictures_of(args: argparse.Namespace) -> Pictures:
    """The pictures, drawn once."""
    path = args.work / "pictures.npz"
    if rank() == 0 and not path.exists():
        build(args.npm, SHAPES[args.shape].size, args.styles).save(path)
    if dist.is_initialized():
        dist.barrier()
    return Pictures.load(path)


def trained_vae(
    args: argparse.Namespace, shape: Shape, pictures: Pictures, held: Pictures | None, batch: int
) -> AutoencoderKL:
    """The VAE, trained unless its weights are there."""
    path = args.work / "vae.pt"
    if not path.exists():
        budget = Budget(args.vae_minutes, args.vae_rate, warmup=100)
        vae.train(shape, pictures, args.work, budget, batch, args.device, held=held)
    model = vae.build(shape).to(args.device, memory_format=torch.channels_last)
    if dist.is_initialized():
        dist.barrier()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval().requires_grad_(False)


def main() -> None:
    args = arguments()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo" if args.device == "cpu" else "nccl")
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO if rank() == 0 else logging.ERROR, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    pictures, held, shape = pictures_of(args), None, SHAPES[args.shape]
    if args.draw_only:
        return
    words = tokenizer.train(pictures.words(), shape.vocabulary)
    if args.held_out:
        pictures, held = pictures.split(HELD_OUT)
    vae_batch, unet_batch = args.vae_batch or shape.batches[0], args.unet_batch or shape.batches[1]
    autoencoder = trained_vae(args, shape, pictures, held, vae_batch)
    chosen = pictures if args.all_concepts else pictures.core()
    latents = vae.encode(autoencoder, chosen.pixels, args.device) * autoencoder.config.scaling_factor
    out = args.out or args.work / "checkpoint"

    def report(models: nn.ModuleDict) -> None:
        publish(autoencoder, models, words, args.work / "early-checkpoint")
        write_sheet(args.work / "early-checkpoint", chosen, args.work / "samples.png")

    budget = Budget(args.unet_minutes, args.unet_rate, warmup=200, save_minutes=9)
    models = unet.train(shape, chosen, latents, words, args.work, budget, unet_batch, args.device, report)
    if args.decoder_minutes:
        budget = Budget(args.decoder_minutes, args.vae_rate / 2, warmup=50, decay=0.7)
        options = {"plain": 0.9, "decoder_only": True}
        autoencoder = vae.train(shape, chosen, args.work, budget, vae_batch, args.device, held=held, **options)
    if rank() == 0:
        publish(autoencoder, models, words, out)


if __name__ == "__main__":
    main()
