"""ControlNets, image-prompt adapters and preprocessors by the names that an operator gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..bundles.controlnet import ControlNetBundle
from ..bundles.format import MANIFEST
from ..bundles.image_prompt import ImagePromptBundle
from ..errors import InputError, counted, unknown
from ..runtime.conditioning.lora.library import LoraLibrary
from ..runtime.model.controlnet import find_controlnet
from ..runtime.model.hint_model import HintModels
from ..runtime.model.image_prompt import find_image_prompt
from ..runtime.model.model import Model
from ..runtime.requests import checks
from .settings import Settings

FILE: Mapping[str, Any] = {"type": "string", "contentEncoding": "base64"}
SHARE: Mapping[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
NAME: Mapping[str, Any] = {"type": "string", "description": "a name of /v1/models"}
_PATHS = ("/", "\\", "~", ".")


def lend(models: Mapping[str, Model], settings: Settings) -> None:
    """Have requests name the settings' adapters with every model that they fit, and the preprocessors with all.

    Raises `InputError` for an adapter that fits no model and a name that is taken, and as `load_controlnet` and
    `load_image_prompt` do.
    """
    for name, path in _bundles(settings.named_controlnets(), "controlnets"):
        _lend(models, partial(Model.add_controlnet, name=name, net=path))
    for name, path in _bundles(settings.named_image_prompt_adapters(), "image_prompt_adapters"):
        _lend(models, partial(Model.add_image_prompt_adapter, name=name, adapter=path))
    for name, path in settings.named_preprocessors().items():
        for model in models.values():
            model.add_preprocessor(name, path)


def adapter_lines(settings: Settings) -> Iterator[str]:
    """A line for each adapter and preprocessor that the settings name, by the name that requests have for it, and for
    each place of LoRAs.

    Raises `InputError` and `BundleError` for what is none; no graph is opened.
    """
    for name, path in _bundles(settings.named_controlnets(), "controlnets"):
        ControlNetBundle.read(find_controlnet(path), verify=False)
        yield f"ControlNet {name}: {path}"
    for name, path in _bundles(settings.named_image_prompt_adapters(), "image_prompt_adapters"):
        ImagePromptBundle.read(find_image_prompt(path), verify=False)
        yield f"image-prompt adapter {name}: {path}"
    preprocessors = HintModels()
    for name, path in settings.named_preprocessors().items():
        preprocessors.add(name, path)
        yield f"preprocessor {name}: {path}"
    library = LoraLibrary(None)
    library.add(settings.loras)
    yield from (f"LoRAs: {place}" for place in library.places)


def _bundles(named: Mapping[str, str], field: str) -> Iterator[tuple[str, str]]:
    """Names and paths; of a folder of bundles those that lie in it, by their own folders' names.

    Raises `InputError` for such a folder that is given another name.
    """
    for name, text in named.items():
        folder = Path(text).expanduser()
        inner = [] if (folder / MANIFEST).exists() else sorted(folder.glob(f"*/{MANIFEST}"))
        if inner and name != folder.name:
            raise InputError(
                f"{field}: {text} holds {counted(len(inner), 'bundle')}, each called as its folder is; leave out "
                f"{name}=, or name one of them",
                field,
            )
        yield from ((manifest.parent.name, str(manifest.parent)) for manifest in inner)
        if not inner:
            yield name, text


def _lend(models: Mapping[str, Model], add: Callable[[Model], None]) -> None:
    causes: list[InputError] = []
    for model in models.values():
        try:
            add(model)
        except InputError as exc:
            causes.append(exc)
    if len(causes) == len(models):
        raise causes[0]


def objects(value: Any, field: str, own: Mapping[str, Any], needed: str) -> list[dict[str, Any]]:
    """A document's list of objects with fields of `own`, and with the `needed` one; raises `InputError` for another."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError(f"{field} must be a list of objects with {needed}, see /v1/options", field)
    for index, each in enumerate(value):
        if others := [name for name in each if name not in own]:
            raise unknown(f"field of {field}[{index}]", others[0][:64], own, field)
        if needed not in each:
            raise InputError(f"{field}[{index}] has no {needed}; give it", field)
    return value


def check_name(kind: str, value: Any) -> None:
    """Raise `InputError` for what is no name: which files are opened is the operator's choice."""
    checks.text(kind, value)
    if value.startswith(_PATHS) or any(mark in value for mark in _PATHS[:2]):
        raise InputError(f"{kind} is a name of /v1/models here, not the path {value[:64]!r}; choose one of them")
