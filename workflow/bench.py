"""The workbench: what nodes work with. Models by name, folders of pictures, and results from before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, unknown
from ..runtime.conditioning.lora.library import LoraLibrary
from ..runtime.conditioning.prompt.embeddings import Embedding
from ..runtime.model.controlnet import ControlNet, bundled_controlnets, load_controlnet
from ..runtime.model.image_prompt import ImagePromptAdapter, bundled_image_prompts, load_image_prompt
from ..runtime.model.load import load_model
from ..runtime.model.model import Model
from ..runtime.model.upscaler import Upscaler, bundled_upscalers, load_upscaler
from .cache import ResultCache

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"})
FOLDERS = ("input", "output", "temp")

Source = Model | str | Path


class Workbench:
    """Models and folders that several workflows may share, from several threads.

    `models` are by the names that workflows have for checkpoints: a loaded `Model`, or a bundle that is loaded when it
    is first used, with the `loading` options of `overpaint.load`, and then given `embeddings`, textual inversions.
    `upscalers` likewise; those that ship with the package are there by their names. `folder` holds the folders input,
    output and temp where they are not named. Pictures that the folder input lacks are those of `examples`.
    """

    def __init__(
        self,
        models: Mapping[str, Source],
        *,
        folder: str | Path = ".",
        input: str | Path | None = None,
        output: str | Path | None = None,
        temp: str | Path | None = None,
        upscalers: Mapping[str, Upscaler | str | Path] | None = None,
        controlnets: Mapping[str, ControlNet | str | Path] | None = None,
        image_prompts: Mapping[str, ImagePromptAdapter | str | Path] | None = None,
        embeddings: Iterable[Embedding] = (),
        loading: Mapping[str, Any] | None = None,
        examples: str | Path | None = None,
        metadata: bool = True,
        cache: ResultCache | None = None,
    ) -> None:
        named = {"input": input, "output": output, "temp": temp}
        self.folders = {kind: Path(named[kind] or Path(folder) / kind) for kind in FOLDERS}
        self._examples = None if examples is None else Path(examples)
        self.metadata = metadata
        """Whether pictures carry the workflow."""
        self.results = ResultCache() if cache is None else cache
        self._loading = dict(loading or {})
        self._models: dict[str, Source] = dict(models)
        self._upscalers: dict[str, Upscaler | str | Path] = {name: name for name in bundled_upscalers()}
        self._upscalers |= upscalers or {}
        self._controlnets: dict[str, ControlNet | str | Path] = {name: name for name in bundled_controlnets()}
        self._controlnets |= controlnets or {}
        self._adapters: dict[str, ImagePromptAdapter | str | Path] = {name: name for name in bundled_image_prompts()}
        self._adapters |= image_prompts or {}
        self._embeddings = list(embeddings)
        self._loaded: dict[tuple[str, str], Any] = {}
        """What was loaded, by its kind and source: several names may stand for one."""
        self._lock = threading.RLock()

    @property
    def checkpoints(self) -> list[str]:
        """The names of the models."""
        return sorted(self._models)

    @property
    def upscalers(self) -> list[str]:
        """The names of the upscalers."""
        return sorted(self._upscalers)

    @property
    def controlnets(self) -> list[str]:
        """The names of the ControlNets."""
        return sorted(self._controlnets)

    @property
    def image_prompts(self) -> list[str]:
        """The names of the image-prompt adapters."""
        return sorted(self._adapters)

    @property
    def loras(self) -> list[str]:
        """The LoRAs of the models that are loaded, and of those to load, by their files' names."""
        return sorted({f"{name}.safetensors" for each in self._lora_libraries() for name in each.paths})

    def lora_state(self, name: str) -> str:
        """Where the LoRAs of a file's name lie, when they were written, and how large they are."""
        paths = {each.paths.get(name.removesuffix(".safetensors")) for each in self._lora_libraries()}
        there = [(path, path.stat()) for path in paths if path is not None and path.exists()]
        return repr(sorted((str(path), status.st_mtime_ns, status.st_size) for path, status in there))

    def _lora_libraries(self) -> list[LoraLibrary]:
        library = LoraLibrary(None)
        places = self._loading.get("loras", ())
        library.add([places] if isinstance(places, (str, Path)) else places)
        return [library, *(model.loras for model in self._models.values() if isinstance(model, Model))]

    @property
    def embeddings(self) -> list[str]:
        """The names of the textual inversions of the models that are loaded, and of those to load."""
        loaded = [model for model in self._models.values() if isinstance(model, Model)]
        names = {name for model in loaded for name in model.stages.text.embeddings}
        return sorted(names | {each.file or each.name for each in self._embeddings})

    def model(self, name: str) -> Model:
        """A model by its name, loaded once; raises `InputError` for an unknown name."""
        held: Model = self._held(self._models, "checkpoint", name, self._load_model)
        return held

    def _load_model(self, source: str | Path) -> Model:
        model = load_model(source, **self._loading)
        for embedding in self._embeddings:
            model.stages.text.add_embedding(embedding)
        return model

    def upscaler(self, name: str) -> Upscaler:
        """An upscaler by its name, loaded once; raises `InputError` for an unknown name."""
        held: Upscaler = self._held(
            self._upscalers, "upscaler", name, lambda source: load_upscaler(source, **self._kept())
        )
        return held

    def controlnet(self, name: str) -> ControlNet:
        """A ControlNet by its name, loaded once; raises `InputError` for an unknown name."""
        held: ControlNet = self._held(
            self._controlnets, "ControlNet", name, lambda source: load_controlnet(source, **self._kept("shapes"))
        )
        return held

    def image_prompt(self, name: str) -> ImagePromptAdapter:
        """An image-prompt adapter by its name, loaded once; raises `InputError` for an unknown name."""
        held: ImagePromptAdapter = self._held(
            self._adapters, "adapter", name, lambda source: load_image_prompt(source, **self._kept("shapes"))
        )
        return held

    def _kept(self, *more: str) -> dict[str, Any]:
        """The options of loading that all networks have, and `more`."""
        return {key: self._loading[key] for key in ("engine", "device", "threads", *more) if key in self._loading}

    def _held(self, held: dict[str, Any], kind: str, name: str, load: Callable[[Any], Any]) -> Any:
        with self._lock:
            if name not in held:
                raise unknown(kind, name, held)
            source = held[name]
            if isinstance(source, (str, Path)):
                key = kind, str(source)
                if key not in self._loaded:
                    self._loaded[key] = load(source)
                held[name] = self._loaded[key]
            return held[name]

    def pictures(self, kind: str = "input") -> list[str]:
        """The pictures of a folder, with its folders' ones, by their paths in it with slashes."""
        folder = self.folders[kind]
        found = folder.rglob("*") if folder.is_dir() else ()
        return sorted(path.relative_to(folder).as_posix() for path in found if path.suffix.lower() in PICTURES)

    def path(self, name: str, kind: str = "input") -> Path:
        """The file of a name such as "clipspace/a.png [output]"; raises `InputError` for one outside the folder."""
        for other in FOLDERS:
            if name.endswith(f"[{other}]"):
                kind, name = other, name[: -len(other) - 2].rstrip()
        path = self.inside(kind, name)
        if kind == "input" and self._examples is not None and not path.exists():
            shipped = [_within(folder, kind, name) for folder in (self._examples, self._examples / "masks")]
            path = next((each for each in shipped if each.exists()), path)
        return path

    def inside(self, kind: str, name: str) -> Path:
        """The path of a name in a folder; raises `InputError` for one that leads out of it."""
        return _within(self.folders[kind], kind, name)

    def close(self) -> None:
        """Let go of the results, and close what was loaded by name."""
        self.results.clear()
        for each in self._loaded.values():
            each.close()


def _within(folder: Path, kind: str, name: str) -> Path:
    folder = folder.resolve()
    path = (folder / name).resolve()
    if not name or "\0" in name or not path.is_relative_to(folder):
        raise InputError(f"{name!r} lies outside the folder of {kind} pictures; name a file in {folder}")
    return path


def names_of(values: Sequence[str]) -> dict[str, str]:
    """Names and sources of words such as "tiny" or "v1-5.safetensors=bundles/sd15"."""
    pairs = (word.partition("=") for word in values)
    return {name: source or name for name, _, source in pairs}
