"""Image-prompt adapters: a picture becomes keys and values that every layer of the denoiser attends to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...bundles.graph import DENOISER, IMAGE_ENCODER, IMAGE_PROJECTION
from ...bundles.image_prompt import ImagePromptBundle
from ...bundles.manifest import Bundle
from ...bundles.tensor import Array
from ...engines.arrays import namespace, to_device
from ...engines.base import Engine
from ...engines.registry import EngineOptions, open_engine
from ...engines.select import Candidate, fastest, usual_device
from ...errors import InputError
from .. import nonfinite
from ..conditioning.cache import Cache
from ..denoising.state import lincomb
from ..imaging.clip_picture import clip_pixels
from ..imaging.picture import Picture
from .shipped import MODELS, find_in, shipped

IMAGE_PROMPTS = MODELS / "image-prompts"
IMAGE = "image"
"""The kind of adapter whose inputs of the denoiser are keys and values of image prompts."""
KEPT = 32

Shares = tuple[tuple[Picture | None, float], ...]
"""Pictures and what each counts of their average; None stands for no picture."""


class ImagePromptAdapter:
    """An adapter's graphs on an engine. Several models may use one; it stays open until `close`."""

    def __init__(self, bundle: ImagePromptBundle, encoder: Engine, projection: Engine) -> None:
        self.bundle = bundle
        self.encoder = encoder
        self.projection = projection
        self._features: Cache[Array] = Cache(KEPT)
        self._tokens: Cache[tuple[Array, Array]] = Cache(KEPT)

    @property
    def sha256(self) -> str:
        """The hash of its graphs, as one text."""
        return " ".join(self.bundle.by_role(role).sha256 for role in (IMAGE_ENCODER, IMAGE_PROJECTION))

    @property
    def layers(self) -> Sequence[int]:
        """The widths of the layers that attend to its tokens."""
        return self.bundle.model.layers

    @property
    def tokens(self) -> int:
        """How many tokens a picture has."""
        return int(self.projection.outputs[0].axes[1])

    def check(self, base: Bundle) -> None:
        """Raise `InputError`, which names both, where its keys and values are not those of a model's denoiser."""
        check_fits(self.bundle, base)

    def features(self, picture: Picture | None) -> tuple[Array, bool]:
        """A picture's features, float32 [count, width] on the engine's device, and whether they were cached.

        None is what stands for no picture in the negative prompt.
        """
        key = None if picture is None else picture.sha256
        return self._features.get(key, lambda: self._encoded(picture))

    def keys_and_values(self, pictures: Shares) -> tuple[Array, Array]:
        """Keys and values float32 [tokens, width of all layers] of an average of pictures' features."""
        key = tuple((None if picture is None else picture.sha256, share) for picture, share in pictures)
        made, _ = self._tokens.get(key, lambda: self._projected(pictures))
        return made

    def forget_nonfinite(self) -> None:
        """Let go of what has NaN or infinity; waits for the device."""
        self._features.forget(lambda features: not nonfinite.is_finite(features))
        self._tokens.forget(lambda both: not all(map(nonfinite.is_finite, both)))

    def close(self) -> None:
        """Release the engines' memory."""
        self.encoder.close()
        self.projection.close()

    def _encoded(self, picture: Picture | None) -> Array:
        facts = self.bundle.model
        if picture is None and facts.negative == "zeros":
            spec = self.projection.inputs[0]
            empty: Array = namespace(self.encoder.device).zeros(spec.axes[1:], np.float32)
            return empty
        side = facts.image_size
        pixels = np.zeros((3, side, side), np.float32)
        if picture is not None:
            pixels = clip_pixels(picture.on_white, side, facts.mean, facts.std)
        [features] = _run(self.encoder, pixels)
        nonfinite.check_host("image_encoder", features)
        return features

    def _projected(self, pictures: Shares) -> tuple[Array, Array]:
        features = lincomb([share for _, share in pictures], [self.features(picture)[0] for picture, _ in pictures])
        keys, values = _run(self.projection, features)
        nonfinite.check_host("image_projection", keys, values)
        return keys, values


def _run(engine: Engine, row: Array) -> list[Array]:
    """An engine's outputs for one row of its only input, in the order of the graph."""
    outputs = engine({engine.inputs[0].name: to_device(row, engine.device)[None]})
    return [outputs[spec.name][0].astype(np.float32, copy=False) for spec in engine.outputs]


def check_fits(adapter: ImagePromptBundle, base: Bundle) -> None:
    """Raise `InputError`, which names both, where an adapter's keys and values are not those of a model's denoiser."""
    name, model, denoiser = adapter.model.name, base.model.name, base.by_role(DENOISER)
    width = sum(adapter.model.layers)
    if IMAGE not in denoiser.adapters:
        raise InputError(
            f"{model} was exported without inputs for image prompts, so that {name} cannot be used with it; export "
            "its checkpoint again: overpaint export CHECKPOINT BUNDLE --adapters control image",
            "image_prompts",
        )
    keys = next(spec for spec in denoiser.inputs if spec.name == denoiser.adapters[IMAGE][0])
    if keys.axes[-1] != width:
        raise InputError(
            f"the image-prompt adapter {name} is of another family than {model}: its keys are {width} "
            f"wide, the model's {keys.axes[-1]}; take one that was trained for this model's family",
            "image_prompts",
        )


def load_image_prompt(
    path: str | Path,
    *,
    engine: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    shapes: str = "auto",
    threads: int = 0,
    verify: bool = True,
) -> ImagePromptAdapter:
    """Load an image-prompt adapter: a bundled one by its name, or what `overpaint export-image-prompt` made.

    The options are those of `overpaint.load`. Raises `InputError` for a number that cannot be used and an unknown name
    or engine, `BundleError` for a folder that is no such adapter's, lacks its encoder or is altered, `EngineError`
    where the engine's library is missing.
    """
    if type(threads) is not int or threads < 0:
        raise InputError(f"threads must be a whole number of at least 0, not {threads!r}")
    bundle = ImagePromptBundle.read(find_image_prompt(path), verify=verify)
    chosen = fastest(bundle, device) if engine == "auto" else Candidate(engine, device or usual_device(engine), None)
    options = EngineOptions(chosen.device, threads, precision, shapes)
    names = [bundle.name_of(role) for role in (IMAGE_ENCODER, IMAGE_PROJECTION)]
    engines = [open_engine(chosen.engine, name, bundle.graphs[name], bundle.folder, options) for name in names]
    return ImagePromptAdapter(bundle, *engines)


def find_image_prompt(adapter: str | Path) -> Path:
    """The folder of an image-prompt adapter by its name among `bundled_image_prompts()`, or by its path; raises
    `InputError`."""
    return find_in(IMAGE_PROMPTS, "image-prompt adapter", adapter)


def bundled_image_prompts() -> list[str]:
    """The names of the image-prompt adapters that ship with the package."""
    return shipped(IMAGE_PROMPTS)
