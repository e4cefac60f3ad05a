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

VOCABULARY = 1536


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--npm", type=Path, required=True, help="folder in which the packages of README.md are installed"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for caches, states and sample sheets")
    parser.add_argument("--out", type=Path, help="checkpoint folder (default: WORK/checkpoint)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads a process (default: torch's)")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--styles", nargs="+", default=["noto", "twemoji", "flat", "contrast", "sketch", "ink"])
    parser.add_argument(
        "--all-concepts", action="store_true", help="train the U-Net on all concepts, not only the core"
    )
    parser.add_argument("--vae-minutes", type=float, default=18)
    parser.add_argument("--unet-minutes", type=float, default=75)
    parser.add_argument("--decoder-minutes", type=float, default=10)
    parser.add_argument("--vae-rate", type=float, default=1.5e-3)
    parser.add_argument("--unet-rate", type=float, default=1.5e-3)
    parser.add_argument("--vae-batch", type=int, default=16)
    parser.add_argument("--unet-batch", type=int, default=64)
    return parser.parse_args()


def pictures_of(args: argparse.Namespace) -> Pictures:
    """The pictures, drawn once."""
    path = args.work / "pictures.npz"
    if rank() == 0 and not path.exists():
        build(args.npm, args.size, args.styles).save(path)
    if dist.is_initialized():
        dist.barrier()
    return Pictures.load(path)


def trained_vae(args: argparse.Namespace, pictures: Pictures) -> AutoencoderKL:
    """The VAE, trained unless its weights are there."""
    path = args.work / "vae.pt"
    if not path.exists():
        budget = Budget(args.vae_minutes, args.vae_rate, warmup=100)
        vae.train(pictures, args.work, budget, args.vae_batch, args.device)
    model = vae.build().to(args.device, memory_format=torch.channels_last)
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
    pictures = pictures_of(args)
    words = tokenizer.train(pictures.words(), VOCABULARY)
    autoencoder = trained_vae(args, pictures)
    chosen = pictures if args.all_concepts else pictures.core()
    latents = vae.encode(autoencoder, chosen.pixels, args.device) * autoencoder.config.scaling_factor
    out = args.out or args.work / "checkpoint"

    def report(models: nn.ModuleDict) -> None:
        publish(autoencoder, models, words, args.work / "early-checkpoint")
        write_sheet(args.work / "early-checkpoint", chosen, args.work / "samples.png")

    budget = Budget(args.unet_minutes, args.unet_rate, warmup=200, save_minutes=9)
    models = unet.train(chosen, latents, words, args.work, budget, args.unet_batch, args.device, report)
    if args.decoder_minutes:
        budget = Budget(args.decoder_minutes, args.vae_rate / 2, warmup=50, decay=0.7)
        options = {"plain": 0.9, "decoder_only": True}
        autoencoder = vae.train(chosen, args.work, budget, args.vae_batch, args.device, **options)
    if rank() == 0:
        publish(autoencoder, models, words, out)


if __name__ == "__main__":
    main()
