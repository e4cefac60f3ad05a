"""openvino-genai's Image2ImagePipeline, every part reshaped to the size and compiled for latency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from PIL import Image

from benchmarks.peers.work import Loaded, Work
from overpaint.runtime.sampling.noise import noise_stream


class Noise(genai.Generator):
    """The numbers of torch's CPU generator, without torch: genai's own TorchGenerator would load it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._stream = noise_stream("cpu", seed)

    def randn_tensor(self, shape: ov.Shape) -> ov.Tensor:
        return ov.Tensor(np.ascontiguousarray(self._stream(tuple(shape)), np.float32))


def prepare(checkpoint: Path, folder: Path, *, weights: str, precision: str) -> None:
    """Convert a checkpoint; `precision`, that of the arithmetic, is chosen when it is loaded."""
    from benchmarks.peers.openvino_layout import write

    write(checkpoint, folder, weights)


def load(folder: Path, work: Work, *, weights: str, precision: str) -> Loaded:
    device = {
        "device": "CPU",
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "CACHE_DIR": str(folder / f"compiled-{work.size}-{work.rows}"),
    }
    text = genai.CLIPTextModel(folder / "text_encoder")
    unet = genai.UNet2DConditionModel(folder / "unet")
    vae = genai.AutoencoderKL(folder / "vae_encoder", folder / "vae_decoder")
    tokens = text.get_config().max_position_embeddings
    text.reshape(work.rows)
    unet.reshape(work.rows, work.size, work.size, tokens)
    vae.reshape(1, work.size, work.size)
    for part in (text, unet, vae):
        part.compile(**device)
    scheduler = genai.Scheduler.from_config(folder / "scheduler/scheduler_config.json")
    pipe = genai.Image2ImagePipeline.stable_diffusion(scheduler, text, unet, vae)
    # Assembled from parts it asks for the sizes that a folder would have told it.
    options = {"guidance_scale": work.guidance, "height": work.size, "width": work.size}

    def paint(
        image: Image.Image, prompt: str, seed: int, steps: int | None = None, strength: float | None = None
    ) -> Image.Image:
        count, share = work.schedule(steps, strength)
        schedule = {"num_inference_steps": count, "strength": share}
        made = pipe.generate(prompt, ov.Tensor(np.asarray(image)[None]), generator=Noise(seed), **schedule, **options)
        return Image.fromarray(made.data[0])

    return Loaded(paint, dict(_stages(text, unet, vae, work)))


def _stages(
    text: genai.CLIPTextModel, unet: genai.UNet2DConditionModel, vae: genai.AutoencoderKL, work: Work
) -> Iterator:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> ov.Tensor:
        return ov.Tensor(rng.standard_normal(shape).astype(np.float32))

    side = work.size // vae.get_vae_scale_factor()
    latents, pixels = drawn(1, unet.get_config().in_channels, side, side), drawn(1, 3, work.size, work.size)
    sample = ov.Tensor(np.repeat(latents.data, work.rows, axis=0))
    timestep = ov.Tensor(np.array([500], np.int64))
    states = text.infer(work.prompt(0), "", work.rows > 1)
    unet.set_hidden_states("encoder_hidden_states", states)
    yield "unet", lambda: unet.infer(sample, timestep)
    yield "encode", lambda: vae.encode(pixels, Noise(0))
    yield "decode", lambda: vae.decode(latents)
