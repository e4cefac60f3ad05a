"""What a tool was call for, as the record in a picture's file holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...bundles.facts import USUAL
from ...bundles.tensor import Array
from ...errors import unknown
from ..imaging.picture import Picture
from ..model.model import Model
from ..provenance.frozen import damaged
from ..provenance.recorder import recorder
from ..requests.defaults import values
from ..requests.expand import ALIASES
from ..requests.guidance import parse_prompts
from ..requests.result import Output

TOOLS = ("inpaint", "outpaint", "upscale")


@dataclass(frozen=True, eq=False)
class ToolCall:
    """One picture's part of a tool's call.

    `prompts` are one or, with several masks, one a mask; `masks` uint8 [height, width] as they were read; `options` the
    others by name, without those that only say how masks are read.
    """

    tool: str
    image: Picture
    prompts: tuple[str, ...]
    negative_prompt: str
    seed: int
    masks: tuple[Array, ...]
    options: tuple[tuple[str, Any], ...]

    def __post_init__(self) -> None:
        """Raise `InputError` for another tool, and for fields of other kinds, as a damaged record has them."""
        if not _whole(self):
            raise damaged()
        if self.tool not in TOOLS:
            raise unknown("tool", self.tool, TOOLS)

    def make(self, pipe: Any) -> Output:
        """Make the picture again."""
        given = (list(self.masks), list(self.prompts)) if self.masks else self.prompts
        call = getattr(pipe, self.tool)
        options = values(dict(self.options), USUAL[self.tool])  # a record of before models had their own has none
        made = call(self.image, *given, negative_prompt=self.negative_prompt, seed=self.seed, **options)
        output: Output = made.outputs[0]
        return output


def recorded(
    model: Model,
    tool: str,
    output: Output,
    image: Picture,
    prompts: tuple[str, ...],
    options: Mapping[str, Any],
    masks: tuple[Array, ...] = (),
    together: int = 1,
) -> Output:
    """A tool's output with the record by which it is made again; `options` are the call's, None where not given."""
    request = output.request
    kept = {ALIASES.get(name, name): value for name, value in options.items() if value is not None}
    # The model's own may be others when the record is read.
    kept |= {name: getattr(request, name) for name in asdict(USUAL[tool])}
    if request.variation_seed is not None:
        kept["variation_seed"] = request.variation_seed
    call = ToolCall(tool, image, prompts, request.negative_prompt, request.seed, masks, tuple(kept.items()))
    maker = replace(model.maker, loras=model.loras.hashes(parse_prompts(request).loras))
    return replace(output, recorder=recorder(maker, call, output.image, together=together))


def _whole(call: Any) -> bool:
    """Whether a call's fields are of their kinds."""
    if not all(isinstance(part, tuple) for part in (call.prompts, call.masks, call.options)):
        return False
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in call.options):
        return False
    texts = (call.tool, call.negative_prompt, *call.prompts, *(name for name, _ in call.options))
    return (
        isinstance(call.image, Picture)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(mask, np.ndarray) for mask in call.masks)
    )
