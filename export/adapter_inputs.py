"""The denoiser's specification with the inputs of adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..bundles.graph import LowRankLayer, Range
from ..bundles.tensor import TensorSpec
from ..errors import InputError
from .adapters import CONTROL, IMAGE, KEYS, MOST_IMAGE_TOKENS, PERTURBED, VALUES, Residual
from .components import Component, Config, Lengths, normal
from .lora import GATE, LORA, MATRIX, MOST_RANK, SUFFIX

CROSSED = "UNetMidBlock2DCrossAttn"


def with_control(denoiser: Component, residuals: Sequence[Residual]) -> Component:
    """A denoiser that also takes a ControlNet's residuals; checked with them, and without."""
    ranges = dict(denoiser.ranges)
    for each in residuals:
        ranges |= each.ranges(ranges["height"], ranges["width"])

    def present(lengths: Lengths) -> Lengths:
        own: Lengths = {}
        for each in residuals:
            own = {**own, **each.lengths(lengths["height"], lengths["width"])}
        return {**lengths, **own}

    def absent(lengths: Lengths) -> Lengths:
        return {**lengths, **{axis: length for each in residuals for axis, length in each.absent.items()}}

    return replace(
        denoiser,
        inputs=(*denoiser.inputs, *(each.spec for each in residuals)),
        ranges=ranges,
        traced=present(denoiser.traced),
        checked=_alternating(denoiser.checked, absent, present),
        draws={**denoiser.draws, **{each.name: normal for each in residuals}},
        adapters={**denoiser.adapters, CONTROL: tuple(each.name for each in residuals)},
    )


def with_image_prompts(denoiser: Component, width: int) -> Component:
    """A denoiser that also takes image prompts, as keys and values [image_tokens, width] of all its layers; checked
    with them, and without."""
    axis = "image_tokens"
    return replace(
        denoiser,
        inputs=(*denoiser.inputs, *(TensorSpec(name, "float32", ("rows", axis, width)) for name in (KEYS, VALUES))),
        ranges={**denoiser.ranges, axis: Range(1, 1, MOST_IMAGE_TOKENS)},
        traced={**denoiser.traced, axis: 5},
        checked=_alternating(denoiser.checked, lambda own: {**own, axis: 1}, lambda own: {**own, axis: 4}),
        draws={**denoiser.draws, KEYS: normal, VALUES: normal},
        adapters={**denoiser.adapters, IMAGE: (KEYS, VALUES)},
    )


def with_perturbed(denoiser: Component, config: Config) -> Component:
    """A denoiser that also takes how far the attention in its middle is left out, in each row, 0 to 1; raises
    `InputError` for one of `unet/config.json` that has none."""
    if (middle := config["mid_block_type"]) != CROSSED:
        raise InputError(
            f"the U-Net's middle, {middle}, has no attention to leave out; leave out perturbed", "adapters"
        )
    return replace(
        denoiser,
        inputs=(*denoiser.inputs, TensorSpec(PERTURBED, "float32", ("rows",))),
        draws={**denoiser.draws, PERTURBED: lambda rng, shape, _: rng.integers(0, 2, shape)},
        adapters={**denoiser.adapters, PERTURBED: (PERTURBED,)},
    )


def with_lora(component: Component, layers: Sequence[LowRankLayer]) -> Component:
    """A graph beside `component` that also takes LoRAs of its layers; checked with them, and without."""
    axis, last = "lora_rank", layers[-1]
    total = last.start + last.inputs + last.outputs
    # Of a few percent of the layers' own size, as trained ones are.
    scale = (last.inputs + last.outputs) ** -0.5
    return replace(
        component,
        name=component.name + SUFFIX,
        role=component.role + SUFFIX,
        inputs=(
            *component.inputs,
            TensorSpec(MATRIX, "float32", (total, axis)),
            TensorSpec(GATE, "float32", ("rows", axis)),
        ),
        ranges={**component.ranges, axis: Range(1, 32, MOST_RANK)},
        traced={**component.traced, axis: 5},
        checked=_alternating(component.checked, lambda own: {**own, axis: 1}, lambda own: {**own, axis: 4}),
        draws={
            **component.draws,
            MATRIX: lambda rng, shape, lengths: scale * normal(rng, shape, lengths),
            GATE: normal,
        },
        adapters={**component.adapters, LORA: (MATRIX, GATE)},
        base=component.name,
        low_rank=tuple(layers),
    )


def _alternating(
    checked: Sequence[Lengths], first: Callable[[Lengths], Lengths], second: Callable[[Lengths], Lengths]
) -> tuple[Lengths, ...]:
    return tuple((second if index % 2 else first)(lengths) for index, lengths in enumerate(checked))
