"""A1111's scripts: their names and arguments by position, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InputError, RefusedError

SD_UPSCALE, ULTIMATE, LOOPBACK, PLOT = "sd upscale", "ultimate sd upscale", "loopback", "x/y/z plot"
SOFT, CONTROLNET = "soft inpainting", "controlnet"
_TAKEN_FROM_THE_CALL = ("refiner", "seed", "sampler")


@dataclass(frozen=True)
class Script:
    """A script: the labels of its arguments with their defaults, in order, and where it may be chosen."""

    arguments: Mapping[str, Any]
    tabs: tuple[str, ...] = ("img2img",)
    always_on: bool = False

    def read(self, name: str, given: Sequence[Any]) -> dict[str, Any]:
        """The arguments by label; those at the end that are not given have their defaults.

        Raises `InputError` for too many, and for a value of another kind than the default's.
        """
        if len(given) > len(self.arguments):
            raise InputError(f"{name} takes {len(self.arguments)} arguments, not {len(given)}", "script_args")
        made = {
            label: default.of(0, label) if isinstance(default, Choice) else default
            for label, default in self.arguments.items()
        }
        for (label, default), value in zip(self.arguments.items(), given, strict=False):
            if value is not None:
                made[label] = _like(default, value, f"{name}: {label}")
        return made


def _like(default: Any, value: Any, label: str) -> Any:
    """A value of the kind of a default; of a choice by index also its name."""
    if isinstance(default, Choice):
        return default.of(value, label)
    if isinstance(default, bool):
        if not isinstance(value, bool | int):
            raise InputError(f"{label} is true or false, not {str(value)[:64]!r}", "script_args")
        return bool(value)
    if isinstance(default, int | float):
        try:
            number = float(value)
            made = number if isinstance(default, float) else int(number)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{label} is a number, not {str(value)[:64]!r}", "script_args") from None
        if made != number:
            raise InputError(f"{label} is a whole number, not {number:g}", "script_args")
        return made
    return value


@dataclass(frozen=True)
class Choice:
    """One of several names, the first where nothing is said."""

    names: tuple[str, ...]

    def of(self, value: Any, label: str) -> str:
        """The name of an index or a name; raises `InputError` for another."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(self.names):
            return self.names[value]
        found = next((name for name in self.names if str(value).lower() == name.lower()), None)
        if found is None:
            raise InputError(f"{label} is one of {', '.join(self.names)}, not {str(value)[:64]!r}", "script_args")
        return found


BANDS = ("None", "Band pass", "Half tile offset pass", "Half tile offset pass + intersections")
_AXES = {
    f"{axis} {what}": default
    for axis in "XYZ"
    for what, default in (("type", "Nothing"), ("values", ""), ("values of a list", None))
}
SCRIPTS: Mapping[str, Script] = {
    SD_UPSCALE: Script({"info": "", "overlap": 64, "upscaler": "None", "scale factor": 2.0}),
    ULTIMATE: Script(
        {
            "info": "",
            "tile width": 512,
            "tile height": 0,
            "mask blur": 8,
            "padding": 32,
            "seams fix width": 64,
            "seams fix denoise": 0.35,
            "seams fix padding": 16,
            "upscaler": "None",
            "save upscaled image": True,
            "redraw mode": Choice(("Linear", "Chess", "None")),
            "save seams fix image": False,
            "seams fix mask blur": 4,
            "seams fix type": Choice(BANDS),
            "target size type": Choice(("From img2img2 settings", "Custom size", "Scale from image size")),
            "custom width": 2048,
            "custom height": 2048,
            "custom scale": 2.0,
        }
    ),
    LOOPBACK: Script(
        {
            "loops": 4,
            "final denoising strength": 0.5,
            "denoising strength curve": Choice(("Linear", "Aggressive", "Lazy")),
            "append interrogated prompt": Choice(("None", "CLIP", "DeepBooru")),
        }
    ),
    PLOT: Script(
        {
            **_AXES,
            "draw legend": True,
            "include sub images": False,
            "include sub grids": False,
            "keep -1 for seeds": False,
            "vary seeds for X": False,
            "vary seeds for Y": False,
            "vary seeds for Z": False,
            "grid margins": 0,
            "use text inputs": False,
        },
        ("txt2img", "img2img"),
    ),
    SOFT: Script(
        {
            "enabled": False,
            "schedule bias": 1.0,
            "preservation strength": 0.5,
            "transition contrast boost": 4.0,
            "mask influence": 0.0,
            "difference threshold": 0.5,
            "difference contrast": 2.0,
        },
        always_on=True,
    ),
    CONTROLNET: Script({}, ("txt2img", "img2img"), always_on=True),
}


def chosen(call: Mapping[str, Any], tab: str) -> tuple[str, dict[str, Any]]:
    """The script that a call chooses, "" for none, and its arguments; raises `RefusedError` (422) for another."""
    name = (call["script_name"] or "").strip().lower()
    if name in ("", "none"):
        return "", {}
    script = SCRIPTS.get(name)
    if script is None or script.always_on or tab not in script.tabs:
        raise RefusedError(f"Script '{str(call['script_name'])[:64]}' not found", 422, "invalid_input")
    return name, script.read(name, call["script_args"])


def always_on(call: Mapping[str, Any], tab: str) -> dict[str, dict[str, Any]]:
    """The always-on scripts of a call that are not idle, but for ControlNet, and their arguments.

    Raises `RefusedError` (422) for one that there is not, and `InputError` for one that is not served.
    """
    made: dict[str, dict[str, Any]] = {}
    for title, settings in call["alwayson_scripts"].items():
        name, given = title.strip().lower(), settings.get("args", []) if isinstance(settings, dict) else settings
        if not isinstance(given, list):
            raise RefusedError(f"the args of {title[:64]} are a list; correct it", 422, "invalid_input")
        script = SCRIPTS.get(name)
        if name in _TAKEN_FROM_THE_CALL:
            continue
        if name == CONTROLNET:
            continue
        if script is None or not script.always_on or tab not in script.tabs:
            raise RefusedError(f"always on script {title[:64]} not found", 422, "invalid_input")
        if given and given[0] is not False:
            made[name] = script.read(name, given)
    return made


def units(call: Mapping[str, Any]) -> list[Any]:
    """The arguments of the always-on script ControlNet."""
    scripts: Mapping[str, Any] = call["alwayson_scripts"]
    given: Any = next((each for title, each in scripts.items() if title.strip().lower() == CONTROLNET), [])
    listed = given.get("args", []) if isinstance(given, dict) else given
    return listed if isinstance(listed, list) else []


def listed() -> dict[str, list[str]]:
    """The scripts of each tab, by name."""
    return {tab: [name for name, script in SCRIPTS.items() if tab in script.tabs] for tab in ("txt2img", "img2img")}


def described() -> list[dict[str, Any]]:
    """What each script takes."""
    return [
        {
            "name": name,
            "is_alwayson": script.always_on,
            "is_img2img": tab == "img2img",
            "args": [_argument(label, default) for label, default in script.arguments.items()],
        }
        for tab in ("txt2img", "img2img")
        for name, script in SCRIPTS.items()
        if tab in script.tabs
    ]


def _argument(label: str, default: Any) -> dict[str, Any]:
    names = default.names if isinstance(default, Choice) else None
    value = names[0] if names else default
    return {
        "label": label,
        "value": value,
        "minimum": None,
        "maximum": None,
        "step": None,
        "choices": None if names is None else list(names),
    }
