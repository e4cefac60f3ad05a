"""The routes of sd-webui-controlnet, which clients of A1111 look for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...runtime.imaging.preprocessors import ALIASES, INPAINT, PREPROCESSORS
from ...runtime.model.model import Model
from ..controls import MOST, preprocessors
from ..documents import Document
from ..service import Service
from .detected import detected
from .fields import DETECT, read_call
from .pictures import base64_png
from .units import IP_ADAPTERS, LEAST_RESOLUTION, MOST_RESOLUTION, RESOLUTION, WHOLE, titled

VERSION = 3
_TYPES: Mapping[str, tuple[str, ...]] = {
    "Canny": ("canny",),
    "IP-Adapter": IP_ADAPTERS,
    "Inpaint": (INPAINT,),
    "Lineart": ("lineart_standard", "invert"),
    "Scribble": ("scribble_xdog",),
    "T2I-Adapter": ("color_grid",),
    "Tile": ("tile_resample", "blur_gaussian"),
}
"""What each of the extension's control types has of the modules here."""


def model_list(model: Model) -> dict[str, Any]:
    """The ControlNets and image-prompt adapters of a model."""
    stages = model.stages
    return {"model_list": [*titled(stages.controlnets.offered), *titled(stages.image_adapters.offered)]}


def module_list(service: Service) -> dict[str, Any]:
    """The preprocessors, with what can be set of them."""
    names = _modules(service)
    return {"module_list": names, "module_detail": {name: _detail(name) for name in names}}


def control_types(service: Service, model: Model) -> dict[str, Any]:
    """Modules and models by what they are for."""
    models, modules = model_list(model)["model_list"], _modules(service)
    made = {"All": _type(modules, models, "none", "None")}
    for name, own in _TYPES.items():
        listed = [*(["none"] if name != "IP-Adapter" else []), *own]
        word = name.lower().replace("-", "")
        fitting = [each for each in models if word in each.lower().replace("-", "")]
        made[name] = _type(listed, fitting, own[0], fitting[0] if fitting else "None")
    return {"control_types": made}


def detect(service: Service, document: Document) -> dict[str, Any]:
    """What modules make of pictures."""
    images = detected(service, read_call(document, DETECT))
    return {"info": "Success", "images": [base64_png(image) for image in images]}


def settings() -> dict[str, int]:
    """How many units a call may have."""
    return {"control_net_unit_count": MOST}


def _modules(service: Service) -> list[str]:
    return [*preprocessors(service.settings), *(name for name in ALIASES if name.startswith("inpaint_")), *IP_ADAPTERS]


def _detail(name: str) -> dict[str, Any]:
    sliders = (
        [] if name in (*WHOLE, *IP_ADAPTERS) else [_slider("Resolution", RESOLUTION, LEAST_RESOLUTION, MOST_RESOLUTION)]
    )
    numbers = PREPROCESSORS[name].numbers if name in PREPROCESSORS else ()
    return {"model_free": False, "sliders": [*sliders, *(_slider(*each) for each in numbers)]}


def _slider(name: str, value: float, least: float, most: float) -> dict[str, Any]:
    return {"name": name.capitalize(), "value": value, "min": least, "max": most}


def _type(modules: Iterable[str], models: Iterable[str], module: str, model: str) -> dict[str, Any]:
    return {
        "module_list": list(modules),
        "model_list": ["None", *models],
        "default_option": module,
        "default_model": model,
    }
