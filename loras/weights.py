"""How much a LoRA counts: in the denoiser, in the text encoders, and block by block."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .layers import Named, blocks

MOST = 100.0
# What A1111 and its extension call a use's weights: of text encoders, of the denoiser, of blocks.
_TE, _UNET, _LBW = _NAMED = re.findall(r"\w+", "te unet lbw")
_IN, _OUT = [f"IN{n:02}" for n in range(12)], [f"OUT{n:02}" for n in range(12)]
_FULL = ["BASE", *_IN, "M00", *_OUT]
_NUMBERED: Mapping[int, Sequence[str]] = {
    26: _FULL,
    17: [name for name in _FULL if name not in {"IN00", "IN03", "IN06", "IN09", "IN10", "IN11", *_OUT[:3]}],
    20: ["BASE", *_IN[:9], "M00", *_OUT[:9]],
    12: ["BASE", "IN04", "IN05", "IN07", "IN08", "M00", *_OUT[:6]],
}
"""The blocks that so many numbers are of, as A1111's extension for block weights has them: of Stable Diffusion 1 all
and those with attention, of XL the same. BASE is the text encoders. A block that is not among them counts 0."""


@dataclass(frozen=True)
class LoraUse:
    """A LoRA by its name, and how much it counts in the text encoders and in the denoiser.

    `blocks` are the weights of the denoiser's blocks: 12, 17, 20 or 26 numbers, see A1111's extension for block
    weights, or layers by the beginnings of their names, "down_blocks=0,up_blocks.1=0.5".
    """

    name: str
    text: float = 1.0
    unet: float = 1.0
    blocks: str = ""

    def __post_init__(self) -> None:
        """Raise `InputError` for a weight that no LoRA has, and for block weights that cannot be read."""
        if not self.name:
            raise InputError("a LoRA has no name; write <lora:name:0.8>", "loras")
        for weight in (self.text, self.unet):
            if not (math.isfinite(weight) and abs(weight) <= MOST):
                cause = f"LoRA {self.name!r} counts {weight}; give a number from {-MOST:g} to {MOST:g}"
                raise InputError(cause, "loras")
        _parsed(self.blocks, self.name)

    @property
    def base(self) -> float:
        """What the block weights give the text encoders."""
        numbers, _ = _parsed(self.blocks, self.name)
        return numbers.get("BASE", 1.0) if numbers else 1.0

    def factors(self, layers: Sequence[Named]) -> list[float]:
        """The block weight of each layer of the denoiser."""
        numbers, named = _parsed(self.blocks, self.name)
        if numbers:
            places = blocks(layers)
            return [numbers.get(places[layer.name], 0.0) if places[layer.name] else 1.0 for layer in layers]
        return [_longest(named, layer.name) for layer in layers]

    def times(self, factor: float) -> LoraUse:
        """The same, counting so many times as much."""
        return self if factor == 1 else replace(self, text=self.text * factor, unet=self.unet * factor)

    def __str__(self) -> str:
        """As prompts name it."""
        weights = f"{self.unet:g}" if self.text == self.unet else f"{self.text:g}:{self.unet:g}"
        return f"<lora:{self.name}:{weights}{f':lbw={self.blocks}' if self.blocks else ''}>"


def parse_use(text: str) -> LoraUse:
    """A LoRA of a text such as "name:0.8", "name:0.5:0.8" (text encoders, denoiser), "name:te=0:unet=1" or
    "name:1:lbw=..."; raises `InputError` for another."""
    name, *rest = text.split(":")
    positional = [word for word in rest if "=" not in word]
    named = dict(word.split("=", 1) for word in rest if "=" in word)
    if len(positional) == 2 and "," in positional[1]:
        named.setdefault(_LBW, positional.pop())
    if strange := sorted(named.keys() - set(_NAMED)):
        raise InputError(f"LoRA {text!r} has {', '.join(strange)}, which is not served; te, unet and lbw are", "loras")
    if len(positional) > 2:
        raise InputError(f"LoRA {text!r} has too many numbers; write name:0.8, or name:te:unet", "loras")
    weights = [_number(word, text) for word in positional] or [1.0]
    te, unet = weights[0], weights[-1]
    if _TE in named:
        te = _number(named[_TE], text)
    if _UNET in named:
        unet = _number(named[_UNET], text)
    return LoraUse(name.strip(), te, unet, named.get(_LBW, ""))


_TAG = re.compile(r"<(lora|lyco|hypernet):([^>]+)>")


def take_tags(prompt: str) -> tuple[str, tuple[LoraUse, ...]]:
    """A prompt without the LoRAs that it names as A1111 does, `<lora:name:0.8>`, and these.

    Raises `InputError` for a hypernetwork, and as `parse_use`.
    """
    uses = []
    for kind, text in _TAG.findall(prompt):
        if kind == "hypernet":
            raise InputError(f"the prompt names the hypernetwork {text!r}, which is not served; take it out", "prompt")
        uses.append(parse_use(text))
    return (_TAG.sub("", prompt), tuple(uses)) if uses else (prompt, ())


def _number(word: str, text: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"LoRA {text!r}: {word!r} is no number; write name:0.8, or name:te:unet", "loras") from None


def _parsed(text: str, name: str) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Block weights by block, or by the beginnings of layers' names."""
    if not text:
        return {}, {}
    words = [word.strip() for word in text.split(",")]
    if all("=" in word for word in words):
        return {}, {key: _number(value, f"{name}:{text}") for key, value in (word.split("=", 1) for word in words)}
    if len(words) not in _NUMBERED:
        counts = ", ".join(map(str, sorted(_NUMBERED)))
        raise InputError(f"LoRA {name!r} has {len(words)} block weights; give {counts}, or layer=number,...", "loras")
    return {key: _number(word, f"{name}:{text}") for key, word in zip(_NUMBERED[len(words)], words, strict=True)}, {}


def _longest(named: Mapping[str, float], layer: str) -> float:
    """The weight of the longest beginning of a layer's name; 1 where there is none."""
    fitting = [start for start in named if layer == start or layer.startswith(f"{start}.")]
    return named[max(fitting, key=len)] if fitting else 1.0
