"""An image-prompt adapter for the shipped model, in IP-Adapter's own layout; see README.md.

``python -m training.image_prompt --npm DIR --work DIR``, resumed where it was stopped.
"""

from __future__ import annotations

import argparse
import copy
import logging
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, IPAdapterAttnProcessor
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from . import norm, unet, vision
from .control import CHECKPOINT, NOISY, parts, pictures_of, training_set, views_of
from .data import Pictures, caption
from .loop import Budget, Trainer
from .views import Views, view

log = logging.getLogger(__name__)

TOKENS = 4
WEIGHTS = "ip-adapter.safetensors"
CARD = Path(__file__).with_name("image_prompt_card.md")
# What a step shows beside the target: its concept's name without a style, or with another, each with a picture of
# another concept in the target's style; no words with another view of the target; its caption and no picture; neither,
# for classifier-free guidance.
SHOWN = {"name": 0.4, "other": 0.25, "same": 0.15, "none": 0.1, "empty": 0.1}

State = dict[str, dict[str, torch.Tensor]]


def fresh(base: UNet2DConditionModel) -> State:
    """IP-Adapter's weights at the beginning: the words' keys, and values of zero, so that nothing is disturbed."""
    width = base.config.cross_attention_dim
    project = nn.Linear(vision.EMBEDDING, TOKENS * width)
    own: dict[str, torch.Tensor] = {}
    known = base.state_dict()
    crossed = [name for name in base.attn_processors if "attn2" in name]
    for number, name in enumerate(crossed):
        for part in ("to_k", "to_v"):
            weight = known[f"{name.removesuffix('processor')}{part}.weight"]
            own[f"{2 * number + 1}.{part}_ip.weight"] = weight.clone() if part == "to_k" else torch.zeros_like(weight)
    image = {f"proj.{name}": tensor.detach() for name, tensor in project.state_dict().items()}
    return {
        "image_proj": {**image, "norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)},
        "ip_adapter": own,
    }


def adapted(base: UNet2DConditionModel, state: State) -> nn.ModuleDict:
    """Give the U-Net the adapter, through diffusers; returns what of it is trained."""
    base._load_ip_adapter_weights([state])
    trained = nn.ModuleDict({"image_proj": base.encoder_hid_proj})
    processors = {}
    for name, made in base.attn_processors.items():
        processors[name] = AttnProcessor()
        if "attn2" in name:
            plain = IPAdapterAttnProcessor(made.hidden_size, made.cross_attention_dim, (TOKENS,), [1.0])
            plain.load_state_dict(made.state_dict())
            processors[name] = plain
            trained[name.replace(".", "/")] = plain
    base.set_attn_processor(processors)
    return trained.float().requires_grad_(True)


def extracted(base: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """The adapter's weights under IP-Adapter's names."""
    layer = base.encoder_hid_proj.image_projection_layers[0]
    named = {"proj": layer.image_embeds, "norm": layer.norm}
    found = {f"image_proj.{n}.{p}": t for n, module in named.items() for p, t in module.state_dict().items()}
    crossed = [made for name, made in base.attn_processors.items() if "attn2" in name]
    for number, made in enumerate(crossed):
        for part, module in (("to_k_ip", made.to_k_ip[0]), ("to_v_ip", made.to_v_ip[0])):
            found[f"ip_adapter.{2 * number + 1}.{part}.weight"] = module.weight
    return {name: tensor.detach() for name, tensor in found.items()}


@torch.no_grad()
def words_of(pictures: Pictures, text: CLIPTextModel, tokenizer: CLIPTokenizer) -> NDArray[np.float32]:
    """The text encoder's output for names alone, and then in each style, float32 [concepts, 1 + styles, 77, width]."""
    forms = [[name, *(caption(name, style) for style in pictures.styles)] for name in pictures.names]
    ids = unet.tokens(tokenizer, [form for each in forms for form in each])
    hidden = torch.cat([text(part).last_hidden_state for part in ids.split(128)])
    return hidden.view(len(forms), 1 + len(pictures.styles), *hidden.shape[1:]).numpy()


class Examples:
    """Draws targets with words and pictures that ask for them."""

    def __init__(self, pictures: Pictures, seen: Views, embeddings: torch.Tensor, words: NDArray[np.float32]) -> None:
        self.pictures, self.seen, self.embeddings, self.words = pictures, seen, embeddings, words
        self.core = training_set(pictures)[0]
        style = pictures.style[self.core]
        self.of_style = [self.core[style == number] for number in range(len(pictures.styles))]

    def draw(self, share: int, empty: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Latents [n, 4, 16, 16], words [n, 77, width] and image embeddings [n, 1, EMBEDDING] of `share` examples."""
        latents, words, images = [], [], []
        for index in rng.choice(self.core, share):
            concept, style = self.pictures.concept[index], self.pictures.style[index]
            kind = rng.choice(list(SHOWN), p=list(SHOWN.values()))
            other = index if kind == "same" else rng.choice(self.of_style[style])
            form = {"name": 0, "other": 1 + rng.integers(len(self.pictures.styles)), "none": 1 + style}.get(kind)
            latents.append(torch.from_numpy(self.seen.latents[self.place(index, rng)]).float())
            words.append(empty if form is None else torch.from_numpy(self.words[concept, form]))
            seen = self.embeddings[self.place(other, rng)]
            images.append(torch.zeros_like(seen) if kind in ("none", "empty") else seen)
        return torch.stack(latents), torch.stack(words), torch.stack(images)[:, None]

    def place(self, index: int, rng: np.random.Generator) -> int:
        """Where a view of a picture is, each other time the picture itself."""
        moved = rng.integers(self.seen.count[index]) if rng.random() < 0.5 else 0
        return int(self.seen.first[index] + moved)


def train(examples: Examples, work: Path, budget: Budget, batch: int) -> UNet2DConditionModel:
    """Train the adapter on the U-Net's own loss; all else stays as it is."""
    torch.manual_seed(0)
    _, base, text, tokenizer = parts(CHECKPOINT)
    with torch.no_grad():
        empty = text(unet.tokens(tokenizer, [""])).last_hidden_state[0]
    trained = adapted(base, fresh(base))
    norm.replace(base)
    base.to(memory_format=torch.channels_last)
    log.info("parameters: %.2f M", sum(p.numel() for p in trained.parameters()) / 1e6)
    trainer = Trainer(trained, budget, work / "image-prompt.state")
    noising = unet.scheduler()
    levels = noising.config.num_train_timesteps
    torch.manual_seed(trainer.step)
    rng = np.random.default_rng((trainer.step, 2))

    def loss(step: int) -> torch.Tensor:
        clean, words, images = examples.draw(batch, empty, rng)
        clean = clean.contiguous(memory_format=torch.channels_last)
        noise = torch.randn_like(clean)
        timestep = (torch.rand(batch) ** NOISY * levels).long().clamp_max(levels - 1)
        noisy = noising.add_noise(clean, noise, timestep)
        with torch.autocast("cpu", torch.bfloat16):
            v = base(noisy, timestep, words, added_cond_kwargs={"image_embeds": [images]}).sample
        return (v.float() - noising.get_velocity(clean, noise, timestep)).square().mean()

    trainer.run(loss, batch)
    trainer.swap()
    return base


def publish(base: UNet2DConditionModel, encoder: CLIPVisionModelWithProjection, folder: Path) -> None:
    """Write adapter and image encoder in float16 as `load_ip_adapter` reads them, with the card."""
    copy.deepcopy(encoder).half().save_pretrained(folder / "image_encoder", safe_serialization=True)
    vision.processor().save_pretrained(folder / "image_encoder")
    save_file({name: tensor.half().contiguous() for name, tensor in extracted(base).items()}, folder / WEIGHTS)
    if CARD.exists():
        (folder / "README.md").write_text(CARD.read_text(encoding="utf-8"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npm", type=Path, required=True, help="folder of README.md's packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, views and states")
    parser.add_argument("--out", type=Path, help="the adapter's folder (default: WORK/image-prompt)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's)")
    parser.add_argument("--views", type=int, default=12, help="views of each picture")
    parser.add_argument("--vision-minutes", type=float, default=8)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    pictures = pictures_of(args.npm, args.work)
    seen = views_of(pictures, args.work, args.views)
    budget = Budget(args.vision_minutes, 1e-3, warmup=30, average=0.99, save_minutes=3)
    owner = np.repeat(np.arange(len(seen.count)), seen.count)
    numbers = np.arange(len(owner)) - seen.first[owner]
    drawn = np.stack([view(pictures, int(i), int(number)) for i, number in zip(owner, numbers, strict=True)])
    encoder = vision.train(pictures, drawn, owner, args.work, budget, 64)
    embeddings = vision.embed(encoder, drawn)
    _, _, text, tokenizer = parts(CHECKPOINT)
    examples = Examples(pictures, seen, embeddings, words_of(pictures, text, tokenizer))
    budget = Budget(args.minutes, args.rate, warmup=50, average=0.99, save_minutes=3)
    publish(train(examples, args.work, budget, args.batch), encoder, args.out or args.work / "image-prompt")


if __name__ == "__main__":
    main()
