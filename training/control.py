"""A ControlNet for the shipped model: edges in, residuals of the U-Net out; see README.md.

``python -m training.control --npm DIR --work DIR``, resumed where it was stopped; under torchrun as training.run.
"""

from __future__ import annotations

import argparse
import copy
import logging
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from . import norm, unet, views
from .data import Pictures, build, caption
from .loop import Budget, Trainer, processes, rank

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "models/tiny-checkpoint"
CARD = Path(__file__).with_name("control_card.md")
STYLES = ["noto", "twemoji", "flat", "contrast", "sketch", "ink"]
NO_TEXT = 0.3  # part of the captions shown empty, so that the edges alone have to do
OTHERS = 0.3  # part of a batch that shows concepts which the U-Net was not trained on
NOISY = 0.5  # as unet.NOISY: the edges matter where the picture is not seen yet
HELD_OUT = 8  # every 8th of those concepts is never shown
HINT_CHANNELS = (16, 32, 64)  # from the picture's side to a quarter of it


def build_control(base: UNet2DConditionModel) -> ControlNetModel:
    """A ControlNet for `base`, with the weights of its encoder where it has the same parts.

    It is smaller than that encoder: no attention at the lowest resolution, and one residual block in the middle.
    """
    facts = base.config
    control = ControlNetModel(
        in_channels=facts.in_channels,
        block_out_channels=facts.block_out_channels,
        layers_per_block=facts.layers_per_block,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        cross_attention_dim=facts.cross_attention_dim,
        attention_head_dim=facts.attention_head_dim,
        only_cross_attention=False,
        conditioning_embedding_out_channels=HINT_CHANNELS,
    )
    own, known = control.state_dict(), base.state_dict()
    control.load_state_dict({**own, **{name: known[name] for name in own.keys() & known.keys()}})
    # diffusers has the hint's last convolution begin at zero as well: the residuals' do, and this one learns at once.
    control.controlnet_cond_embedding.conv_out.reset_parameters()
    return control


def parts(checkpoint: Path) -> tuple[AutoencoderKL, UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """The checkpoint's models in float32, frozen, and its tokenizer."""
    kinds = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}
    models = [k.from_pretrained(checkpoint, subfolder=n, torch_dtype=torch.float32) for n, k in kinds.items()]
    for model in models:
        model.eval().requires_grad_(False)
    return *models, CLIPTokenizer.from_pretrained(checkpoint, subfolder="tokenizer")


def training_set(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pictures of concepts the U-Net knows, and of those others that are not held out."""
    core = np.isin(pictures.concept, [pictures.names.index(name) for name in pictures.core().names])
    others = ~core & (pictures.concept % HELD_OUT != 0)
    return np.flatnonzero(core), np.flatnonzero(others)


def train(pictures: Pictures, seen: views.Views, work: Path, budget: Budget, batch: int, device: str) -> nn.Module:
    """Train the ControlNet on the U-Net's own loss, the squared error of v; the U-Net stays as it is."""
    torch.manual_seed(0)
    _, base, text, tokenizer = parts(CHECKPOINT)
    control = build_control(base)
    for model in (base, control):
        model.set_attn_processor(AttnProcessor())
        if device == "cpu":
            norm.replace(model)
        model.to(device, memory_format=torch.channels_last)
    control.train()
    log.info("parameters: %.2f M", sum(p.numel() for p in control.parameters()) / 1e6)
    trainer = Trainer(control, budget, work / "control.state")
    hidden = captions(pictures, text, tokenizer).to(device)
    noising, fitting = unet.scheduler(), views.siblings(pictures)
    core, others = training_set(pictures)
    torch.manual_seed(trainer.step + rank())
    rng = np.random.default_rng((trainer.step, rank()))
    share = batch // processes()
    levels = noising.config.num_train_timesteps

    def loss(step: int) -> torch.Tensor:
        index = np.where(rng.random(share) < OTHERS, rng.choice(others, share), rng.choice(core, share))
        number = (rng.random(share) * seen.count[index]).astype(int)
        edged = np.array([rng.choice(fitting[i]) for i in index])
        clean = torch.from_numpy(seen.latents[seen.first[index] + number]).to(device, torch.float32)
        edges = torch.from_numpy(seen.edges[seen.first[edged] + number]).to(device, torch.float32)
        hint = edges[:, None].expand(-1, 3, -1, -1) / 255
        clean, hint = (x.contiguous(memory_format=torch.channels_last) for x in (clean, hint))
        words = hidden[np.where(rng.random(share) < NO_TEXT, 0, index + 1)]
        noise = torch.randn_like(clean)
        timestep = (torch.rand(share, device=device) ** NOISY * levels).long().clamp_max(levels - 1)
        noisy = noising.add_noise(clean, noise, timestep)
        with torch.autocast(device, torch.bfloat16):
            down, mid = control(noisy, timestep, words, hint, return_dict=False)
            options = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
            v = base(noisy, timestep, words, **options).sample
        return (v.float() - noising.get_velocity(clean, noise, timestep)).square().mean()

    def report() -> None:
        publish(control, work / "early-controlnet")

    trainer.run(loss, batch, report)
    trainer.swap()
    return control


@torch.no_grad()
def captions(pictures: Pictures, text: CLIPTextModel, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """The text encoder's output for no words and then for each picture's caption, float32 [1 + pictures, 77, width]."""
    names = [
        caption(pictures.names[c], pictures.styles[s]) for c, s in zip(pictures.concept, pictures.style, strict=True)
    ]
    ids = unet.tokens(tokenizer, ["", *names])
    return torch.cat([text(part).last_hidden_state for part in ids.split(128)])


def publish(control: ControlNetModel, folder: Path) -> None:
    """Write the weights in float16, which are the model, with its card."""
    copy.deepcopy(control).half().save_pretrained(folder, safe_serialization=True)
    if CARD.exists():
        (folder / "README.md").write_text(CARD.read_text(encoding="utf-8"), encoding="utf-8")


def pictures_of(npm: Path, work: Path) -> Pictures:
    """The pictures at twice the model's size, drawn once."""
    path = work / "pictures.npz"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        build(npm, 2 * views.SIZE, STYLES).save(path)
    return Pictures.load(path)


def views_of(pictures: Pictures, work: Path, count: int) -> views.Views:
    """The views, computed once: `count` of the pictures of known concepts, one of those of others."""
    path = work / f"views-{count}.npz"
    if rank() == 0 and not path.exists():
        counts = np.zeros(len(pictures.pixels), np.int64)
        core, others = training_set(pictures)
        counts[core], counts[others] = count, 1
        views.build(pictures, parts(CHECKPOINT)[0], counts).save(path)
    if dist.is_initialized():
        dist.barrier()
    return views.Views.load(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", type=Path, required=True, help="folder of README.md's packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, views and states")
    parser.add_argument("--out", type=Path, help="the ControlNet's folder (default: WORK/controlnet)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument("--views", type=int, default=12, help="views of each picture of a concept that the U-Net knows")
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo" if args.device == "cpu" else "nccl")
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO if rank() == 0 else logging.ERROR, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    pictures = pictures_of(args.npm, args.work)
    seen = views_of(pictures, args.work, args.views)
    budget = Budget(args.minutes, args.rate, warmup=100, average=0.995, save_minutes=5)
    control = train(pictures, seen, args.work, budget, args.batch, args.device)
    if rank() == 0:
        publish(control, args.out or args.work / "controlnet")


if __name__ == "__main__":
    main()
