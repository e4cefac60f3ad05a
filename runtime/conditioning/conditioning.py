"""What steers the denoiser: inputs of its graph with a weight, a place and a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...bundles.tensor import Array
from ...errors import InputError
from ..imaging.tiles import Window
from ..sampling.plan import Plan
from .low_rank import RowLora

TEXT = "encoder_hidden_states"
"""The denoiser's input that takes a prompt's hidden states, [tokens, dim] a row."""
POOLED = "text_embeds"
"""The one that takes its pooled text, [dim] a row."""
SIZES = "time_ids"
"""The one that takes numbers of the picture's size, [numbers] a row."""
GUIDANCE = "timestep_cond"
"""The one that takes the guidance scale's embedding, [dim] a row, of models that need no rows for it."""
PERTURBED = "perturbed"
"""The one that takes how far the attention in the model's middle is left out, one number a row, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """The inputs of one evaluation of the denoiser besides latents and timestep, and what its output counts.

    `inputs` are by the names that the manifest's denoiser has for them, without the axis of rows, such as
    "encoder_hidden_states" [tokens, dim]. `mimic` is its weight where guidance has its mimic scale, of dynamic
    thresholding. `concat_latents` float32 [channels, height, width] go into the model below
    the latents, in place of the job's. `area` float32 [height, width] of the latents, None for 1 everywhere,
    multiplies the `weight`. With a `window` the model sees that part of the latents alone; the `area` is 0 outside it.
    It counts from `start` to `end`, shares of the steps that run in [0, 1]. The weights of those that count in an
    evaluation sum to 1 at every position. `low_rank` are the LoRAs of the evaluation.
    """

    weight: float
    inputs: Mapping[str, Array]
    area: Array | None = None
    start: float = 0.0
    end: float = 1.0
    concat_latents: Array | None = None
    low_rank: Sequence[RowLora] = ()
    window: Window | None = None
    mimic: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1:
            raise InputError(
                f"a conditioning counts from {self.start} to {self.end} of the steps; give shares in [0, 1], the "
                "start first"
            )
        if self.window is not None and self.area is None:
            raise InputError("a conditioning that counts in a window alone needs an area, which is 0 outside it")

    def counts(self, share: float) -> bool:
        """Whether it counts in a step that begins after this share of the steps."""
        return self.start <= share and (share < self.end or self.end == 1)


def by_evaluation(conditionings: Sequence[Conditioning], plan: Plan) -> list[tuple[Conditioning, ...]]:
    """The conditionings that count in each evaluation of a plan; raises `InputError` where there is none."""
    made = [tuple(each for each in conditionings if each.counts(step / plan.steps)) for step in plan.step]
    if any(not counting for counting in made):
        raise InputError("there are steps in which no conditioning counts; have one last from start to end")
    return made
