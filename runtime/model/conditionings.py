"""What steers each evaluation of a job: prompts encoded, with the numbers and pictures that a model takes besides."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...bundles.tensor import Array
from ...engines.arrays import namespace, to_device
from ..conditioning.conditioning import GUIDANCE, PERTURBED, SIZES, Conditioning
from ..conditioning.embeds import guidance_embedding, size_ids
from ..conditioning.prompt.tree import Phrase
from ..requests.guidance import Guidance, WeightedPhrase, weighted_phrases
from ..requests.image_prompts import RowImages
from ..units import Units
from .areas import Areas
from .image_inputs import ImageInputs
from .image_prompt import IMAGE
from .loras import denoiser_loras, encoder_loras
from .planning import PreparedRequest
from .stages import Stages
from .stats import RunStats

IMAGE_GUIDANCE = 1.5
"""What InstructPix2Pix was shown with: Brooks et al. (arXiv:2211.09800), section 3.2.1."""

Inputs = dict[str, Array]


class ConditioningBuilder:
    """The conditionings of one prepared request; `shown` are the latents of the picture
    that a model edits by instruction."""

    def __init__(
        self,
        stages: Stages,
        prepared: PreparedRequest,
        stats: RunStats,
        shown: Array | None = None,
    ) -> None:
        self._stages = stages
        self._prepared = prepared
        self._request = prepared.request
        self._stats = stats
        self._device = stages.denoiser.engine.device
        self._areas = Areas(prepared, stages.facts.downscale, self._device)
        # Without the picture a model that edits by instruction is shown zeros.
        self._shown = None if shown is None else {True: shown, False: namespace(self._device).zeros_like(shown)}
        self._numbers = {negative: self._made_numbers(negative) for negative in (False, True)}
        self._inputs: dict[tuple[Phrase, bool], Inputs] = {}
        self._images: dict[RowImages | None, Inputs] = {None: {}}
        self._one = to_device(np.ones((), np.float32), self._device)
        self._low_rank = denoiser_loras(prepared.loras, self._device)
        self._encoder_loras = encoder_loras(prepared.loras, stages.prompts)

    def conditionings(self) -> Units[list[tuple[Conditioning, ...]]]:
        """Those of every evaluation; each distinct phrase is encoded once."""
        evaluations = weighted_phrases(self._request, self._prepared.prompts, self._prepared.plan, self._guidance)
        for phrases in evaluations:
            for each in phrases:
                yield from self._encoded(*self._source(each, phrases[0]))
        yield from self._encode_images(dict.fromkeys(each.images for phrases in evaluations for each in phrases))
        return [
            tuple(self._conditioning(each, phrases[0]) for each in phrases if self._areas.anywhere(each))
            for phrases in evaluations
        ]

    def _encode_images(self, wanted: Iterable[RowImages | None]) -> Units[None]:
        """The inputs of the image prompts of every row."""
        if (adapter := self._prepared.image_adapter) is None:
            return
        names = self._stages.denoiser.adapters[IMAGE]
        encoded = ImageInputs(adapter, self._request, names, self._device, self._stats)
        for images in wanted:
            if images is not None:
                self._images[images] = yield from encoded.of(images)

    @property
    def _guidance(self) -> Guidance:
        facts, own = self._stages.facts, self._request.image_guidance_scale
        image = (IMAGE_GUIDANCE if own is None else own) if facts.edits else None
        apart = bool(facts.size_ids) or self._zeros
        return Guidance(apart, image, self._stages.input_width(GUIDANCE) is not None)

    @property
    def _zeros(self) -> bool:
        """Whether zeros stand for the negative prompt."""
        wanted = self._request.zero_negative
        return self._stages.facts.zero_empty_negative if wanted is None else wanted

    def _source(self, each: WeightedPhrase, first: WeightedPhrase) -> tuple[Phrase, bool]:
        """The phrase whose encoding counts, and whether zeros of its shapes stand for it: those of the evaluation's
        `first`, whose length they have."""
        zeros = each.negative and self._zeros
        return (first if zeros else each).phrase, zeros

    def _conditioning(self, each: WeightedPhrase, first: WeightedPhrase) -> Conditioning:
        inputs = self._inputs[self._source(each, first)]
        shown = None if self._shown is None else self._shown[each.shown]
        made = {**inputs, **self._numbers[each.negative], **self._images[each.images]}
        area = self._areas.of(each)
        if each.perturbed:
            made[PERTURBED] = self._one
        return Conditioning(each.weight, made, area, concat_latents=shown, low_rank=self._low_rank, mimic=each.mimic)

    def _encoded(self, phrase: Phrase, zeros: bool = False) -> Units[Inputs]:
        """What the text encoders make of a phrase, or zeros of the same shapes."""
        key = phrase, zeros
        if key not in self._inputs:
            if zeros:
                encoded = yield from self._encoded(phrase)
                xp = namespace(self._device)
                self._inputs[key] = {name: xp.zeros_like(array) for name, array in encoded.items()}
            else:
                self._inputs[key] = yield from self._encode_text(phrase)
        return self._inputs[key]

    def _encode_text(self, phrase: Phrase) -> Units[Inputs]:
        request, stats = self._request, self._stats
        with stats.stage("text"):
            encode, loras = self._stages.prompts.encode, self._encoder_loras
            made, cached = encode(phrase, request.clip_skip, request.emphasis, loras)
            stats.encodings += [("text_encoder", array) for array in made.values()]
            stats.cached["text"] += cached
            inputs = {name: to_device(array, self._device) for name, array in made.items()}
        if not cached:
            yield
        return inputs

    def _made_numbers(self, negative: bool) -> Inputs:
        """The sizes and the guidance, where the denoiser takes them."""
        facts, made = self._stages.facts, dict[str, Array]()
        if facts.size_ids:
            made[SIZES] = size_ids(facts.size_ids, self._request.micro.size_numbers(self._seen, negative))
        if (width := self._stages.input_width(GUIDANCE)) is not None:
            made[GUIDANCE] = guidance_embedding(self._request.guidance_scale, width)
        return {name: to_device(np.asarray(array), self._device) for name, array in made.items()}

    @property
    def _seen(self) -> tuple[int, int]:
        """(width, height) in pixels of what the model sees at once: the picture, or a window of it."""
        width, height = self._prepared.picture.size
        window = self._request.window
        return min(width, window or width), min(height, window or height)
