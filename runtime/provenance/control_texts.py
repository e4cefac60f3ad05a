"""ControlNets in a parameters text, as the extension sd-webui-controlnet writes and reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...errors import InputError
from ..imaging.preprocessors import PREPROCESSORS
from ..requests.controls import Control

NAME = re.compile(r"ControlNet (\d+)")
IMAGE_PROMPT = "Module: ip-adapter"
"""How the text of a unit begins that is an image prompt, whose picture no text has."""
MODES: Mapping[str, str] = {
    "balanced": "Balanced",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
    "guess": "Guess",
}
"""The control modes by that extension's names; the last is its own of early versions."""
FITS: Mapping[str, str] = {"stretch": "Just Resize", "crop": "Crop and Resize", "pad": "Resize and Fill"}
_PAIR = re.compile(r"\s*([A-Z][\w ]*):\s*([^,]*)(?:,|\Z)")


@dataclass(frozen=True)
class ControlText:
    """A control with what became of it: its ControlNet's name and hash, and the preprocessor."""

    control: Control
    net: str
    sha256: str
    preprocessor: str

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in self._pairs())

    def _pairs(self) -> Iterator[tuple[str, str]]:
        own = self.control
        yield "Module", self.preprocessor
        yield "Model", f"{self.net} [{self.sha256[:8]}]"
        yield "Weight", f"{own.weight:g}"
        yield "Resize Mode", FITS[own.fit]
        if own.resolution:
            yield "Processor Res", str(own.resolution)
        if self.preprocessor in PREPROCESSORS:
            numbers = PREPROCESSORS[self.preprocessor].usual(own.thresholds)
            yield from zip(("Threshold A", "Threshold B"), (f"{number:g}" for number in numbers), strict=False)
        yield "Guidance Start", f"{own.start:g}"
        yield "Guidance End", f"{own.end:g}"
        yield "Pixel Perfect", str(not own.resolution)
        yield "Control Mode", MODES[own.mode]
        if own.control_type:
            yield "Control Type", own.control_type


def read_control(text: str) -> Control:
    """The control of a text such as "Module: canny, Model: edges [1a2b3c4d], Weight: 0.8, ...".

    Its image is in no infotext: it follows the picture that is repainted. Raises `InputError` for a value that is not
    known.
    """
    pairs = {name: value.strip() for name, value in _PAIR.findall(text)}
    model = re.sub(r"\s*\[[0-9a-f]+\]$", "", pairs.get("Model", ""))
    perfect = pairs.get("Pixel Perfect", "False") == "True"
    resolution = 0 if perfect else max(int(float(pairs.get("Processor Res", "0"))), 0)
    thresholds = tuple(float(pairs[name]) for name in ("Threshold A", "Threshold B") if name in pairs)
    return Control(
        model,
        weight=float(pairs.get("Weight", "1")),
        start=float(pairs.get("Guidance Start", "0")),
        end=float(pairs.get("Guidance End", "1")),
        mode=_named("control mode", MODES, pairs.get("Control Mode", "Balanced")),
        preprocessor=pairs.get("Module", "none"),
        thresholds=tuple(number for number in thresholds if number >= 0),
        resolution=resolution,
        fit=_named("resize mode", FITS, pairs.get("Resize Mode", "Crop and Resize")),
        control_type=pairs.get("Control Type", ""),
    )


def _named(kind: str, names: Mapping[str, str], text: str) -> str:
    for own, other in names.items():
        if text == other:
            return own
    raise InputError(f"{text!r} is no {kind} that is known: {', '.join(names.values())}")
