"""Nodes of batches of latents, and of arithmetic with latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...bundles.tensor import Array
from ..context import Context
from ..node import Node, node, outputs
from ..scaling import resized
from ..sockets import choice, decimal, integer, link
from ..values import Latents

LATENT = link("LATENT")
GIVES = outputs("LATENT")


@node(
    "RepeatLatentBatch",
    needed={"samples": LATENT, "amount": integer(1, 1, 64)},
    outputs=GIVES,
    display="Repeat Latent Batch",
    category="latent/batch",
)
def repeat_latent_batch(context: Context, samples: Latents, amount: int) -> Latents:
    """The whole batch several times, each time with noise of its own."""
    mask, index = samples.mask, samples.batch_index
    if mask is not None and len(mask) > 1:
        mask = np.tile(mask[np.arange(len(samples.samples)) % len(mask)], (amount, 1, 1))
    if index is not None:
        apart = max(index) - min(index) + 1
        index = tuple(place + apart * time for time in range(amount) for place in index)
    return replace(samples, samples=np.tile(samples.samples, (amount, 1, 1, 1)), mask=mask, batch_index=index)


@node(
    "LatentFromBatch",
    needed={"samples": LATENT, "batch_index": integer(0, 0, 63), "length": integer(1, 1, 64)},
    outputs=GIVES,
    display="Latent From Batch",
    category="latent/batch",
)
def latent_from_batch(context: Context, samples: Latents, batch_index: int, length: int) -> Latents:
    """Some of a batch, with the noise that they have in it."""
    count = len(samples.samples)
    first = min(count - 1, batch_index)
    kept = slice(first, first + min(count - first, length))
    mask = samples.mask
    if mask is not None and len(mask) > 1:
        mask = mask[np.arange(count) % len(mask)][kept]
    places = samples.batch_index or tuple(range(count))
    return replace(samples, samples=samples.samples[kept].copy(), mask=mask, batch_index=places[kept])


@node(
    "RebatchLatents",
    needed={"latents": LATENT, "batch_size": integer(1, 1, 4096)},
    outputs=GIVES,
    display="Rebatch Latents",
    category="latent/batch",
)
def rebatch_latents(context: Context, latents: Latents, batch_size: int) -> Latents:
    """The batch as it is: how many rows a call has is the scheduler's matter."""
    return latents


@node("LatentBatch", needed={"samples1": LATENT, "samples2": LATENT}, outputs=GIVES, category="latent/batch")
def latent_batch(context: Context, samples1: Latents, samples2: Latents) -> Latents:
    """Both, the second scaled to the first one's size."""
    first, second = samples1.samples, samples2.samples
    second = resized(second, first.shape[-1], first.shape[-2], "bilinear", "center")
    places = [each.batch_index or tuple(range(len(each.samples))) for each in (samples1, samples2)]
    return replace(samples1, samples=np.concatenate([first, second]), batch_index=places[0] + places[1])


def _second(first: Array, second: Array) -> Array:
    """The second latents in the first one's size and number."""
    second = resized(second, first.shape[-1], first.shape[-2], "bilinear", "center")
    return second[np.arange(len(first)) % len(second)]


def _sum(name: str, work: Callable[[Array, Array], Array], words: str) -> Node:
    def function(context: Context, samples1: Latents, samples2: Latents) -> Latents:
        first = samples1.samples
        return replace(samples1, samples=work(first, _second(first, samples2.samples)))

    function.__doc__, function.__qualname__ = words, name
    taken = {"samples1": LATENT, "samples2": LATENT}
    return node(name, needed=taken, outputs=GIVES, category="latent/advanced")(function)


latent_add = _sum("LatentAdd", lambda a, b: a + b, "The sum of latents.")
latent_subtract = _sum("LatentSubtract", lambda a, b: a - b, "The difference of latents.")


@node(
    "LatentMultiply",
    needed={"samples": LATENT, "multiplier": decimal(1.0, -10.0, 10.0)},
    outputs=GIVES,
    category="latent/advanced",
)
def latent_multiply(context: Context, samples: Latents, multiplier: float) -> Latents:
    """Latents times a number."""
    return replace(samples, samples=samples.samples * np.float32(multiplier))


@node(
    "LatentInterpolate",
    needed={"samples1": LATENT, "samples2": LATENT, "ratio": decimal(1.0, 0.0, 1.0)},
    outputs=GIVES,
    category="latent/advanced",
)
def latent_interpolate(context: Context, samples1: Latents, samples2: Latents, ratio: float) -> Latents:
    """Directions and lengths mixed apart, over the channels of each place."""
    first = samples1.samples
    second = _second(first, samples2.samples)
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (first, second)]
    units = [
        np.nan_to_num(each / np.where(length, length, 1)) for each, length in zip((first, second), lengths, strict=True)
    ]
    mixed = units[0] * ratio + units[1] * (1 - ratio)
    length = np.linalg.norm(mixed, axis=1, keepdims=True)
    mixed = mixed / np.where(length, length, 1) * (lengths[0] * ratio + lengths[1] * (1 - ratio))
    return replace(samples1, samples=mixed.astype(np.float32))


@node(
    "LatentBatchSeedBehavior",
    needed={"samples": LATENT, "seed_behavior": choice(("random", "fixed"))},
    outputs=GIVES,
    category="latent/advanced",
)
def latent_batch_seed_behavior(context: Context, samples: Latents, seed_behavior: str) -> Latents:
    """Whether the items of a batch have noise of their own, or all that of the first."""
    if seed_behavior == "random":
        return replace(samples, batch_index=None)
    first = samples.batch_index[0] if samples.batch_index else 0
    return replace(samples, batch_index=(first,) * len(samples.samples))
