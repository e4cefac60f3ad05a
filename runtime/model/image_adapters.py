"""The image-prompt adapters of a loaded model, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from ...bundles.graph import DENOISER, IMAGE_PROJECTION
from ...bundles.image_prompt import ImagePromptBundle
from ...bundles.manifest import Bundle
from ...errors import InputError, counted, unknown
from ..requests import checks
from ..requests.image_prompts import ImagePrompt
from .image_blocks import layer_weights
from .image_prompt import IMAGE, ImagePromptAdapter, bundled_image_prompts, check_fits, find_image_prompt


class ImagePromptAdapters:
    """The image-prompt adapters of a model by the names that requests have for them.

    One that has not been added is opened when it is first wanted, by its path or as a bundled one, and then kept.
    `open_adapter` opens it; without it only those that were added can be used. Threads may share it.
    """

    def __init__(self, base: Bundle, open_adapter: Callable[[str], ImagePromptAdapter] | None = None) -> None:
        self._base = base
        self._open = open_adapter
        self._adapters: dict[str, ImagePromptAdapter] = {}
        self._confined = False
        self._lock = Lock()

    def add(self, name: str, adapter: ImagePromptAdapter | str | Path) -> None:
        """Have requests call an adapter `name`; the first is the one of requests that name none.

        Raises `InputError` for one that does not fit the model and a name that is taken, and as `load_image_prompt`
        does.
        """
        with checks.of("image_prompts"):
            checks.text("an image-prompt adapter's name", name)
            with self._lock:
                if name in self._adapters:
                    raise InputError(f"there is an image-prompt adapter {name!r} already; choose another name")
                self._adapters[name] = self._checked(adapter)

    def get(self, name: str) -> tuple[str, ImagePromptAdapter]:
        """The adapter that a request calls `name`, with its name; raises `InputError` for one that is not known or does
        not fit, and for none."""
        with self._lock, checks.of("image_prompts"):
            name = name or next(iter(self._adapters), "") or self._usual()
            if name not in self._adapters:
                if self._confined and name not in bundled_image_prompts():
                    raise unknown("image-prompt adapter", name, self.offered)
                self._adapters[name] = self._checked(name)
            return name, self._adapters[name]

    def confine(self) -> None:
        """Have requests name those that were added and those that ship alone, and open no path."""
        self._confined = True

    @property
    def offered(self) -> Mapping[str, str]:
        """The projections' hashes of those that were added or opened, the first first, and of those that ship and fit
        the model, by their names."""
        bundles = {name: adapter.bundle for name, adapter in self.opened.items()}
        shipped = {name: found for name in bundled_image_prompts() if (found := self._fitting(name))}
        return {name: bundle.by_role(IMAGE_PROJECTION).sha256 for name, bundle in {**bundles, **shipped}.items()}

    def of(self, prompts: Sequence[ImagePrompt]) -> tuple[str, ImagePromptAdapter] | None:
        """The adapter of a request's image prompts, with its name; None where there are none.

        Raises `InputError` as `get` does, for blocks that it has not, and for more pictures than the model takes.
        """
        if not prompts:
            return None
        name, adapter = self.get(prompts[0].adapter)
        with checks.of("image_prompts"):
            for prompt in prompts:
                layer_weights(adapter.layers, prompt.blocks)
            most = self._base.by_role(DENOISER).ranges["image_tokens"].most // adapter.tokens
            if len(prompts) > most:
                took = f"this model takes {counted(most, 'picture')} of {adapter.bundle.model.name}"
                raise InputError(f"there are {counted(len(prompts), 'image prompt')}; {took}; leave some out")
        return name, adapter

    @property
    def opened(self) -> Mapping[str, ImagePromptAdapter]:
        """Those that are open, by their names."""
        return dict(self._adapters)

    @property
    def hashes(self) -> Mapping[str, str]:
        """The hashes of those that are open, by their names."""
        return {name: adapter.sha256 for name, adapter in self.opened.items()}

    def forget_nonfinite(self) -> None:
        """Let go of cached features with NaN or infinity; waits for the device."""
        for adapter in tuple(self._adapters.values()):
            adapter.forget_nonfinite()

    def close(self) -> None:
        """Release the memory of all."""
        for adapter in dict.fromkeys(self._adapters.values()):
            adapter.close()
        self._adapters.clear()

    def _usual(self) -> str:
        """The name of a bundled adapter that fits the model."""
        if offered := self.offered:
            return next(iter(offered))
        if IMAGE not in self._base.by_role(DENOISER).adapters:
            return bundled_image_prompts()[0]  # is refused, with what the model lacks
        raise InputError(
            f"no image-prompt adapter is loaded, and none that ships fits {self._base.model.name}; export one "
            "(overpaint export-image-prompt) and name it: --image-prompt-adapter, or adapter of the image prompt"
        )

    def _fitting(self, name: str) -> ImagePromptBundle | None:
        bundle = ImagePromptBundle.read(find_image_prompt(name), verify=False)
        try:
            check_fits(bundle, self._base)
        except InputError:
            return None
        return bundle

    def _checked(self, adapter: ImagePromptAdapter | str | Path) -> ImagePromptAdapter:
        if isinstance(adapter, ImagePromptAdapter):
            adapter.check(self._base)
            return adapter
        if self._open is None:
            raise InputError(f"there is no image-prompt adapter {str(adapter)!r}; add it to the model")
        check_fits(ImagePromptBundle.read(find_image_prompt(adapter), verify=False), self._base)
        return self._open(str(adapter))
