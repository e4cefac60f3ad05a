"""Deep features that rows go on from: what a denoiser's deeper levels gave for the same conditioning before."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundles.graph import DEEP_FEATURES
from ...bundles.tensor import Array
from ...engines.arrays import to_device, to_host
from ..conditioning.conditioning import Conditioning
from ..sampling.caching import Caching, computed, segments
from ..sampling.plan import Plan
from .rows import Outputs
from .steered import Control, Key, Past, steered


class DeepFeatures:
    """Which rows of a job are shallow, and what they go on from (Ma et al., "DeepCache", arXiv:2312.00858).

    Every so many evaluations are whole, and the first of each part in which noise only falls. In between a row goes on
    from the features that its conditioning's last whole one gave, float32 [channels, height, width], in its window; a
    conditioning that has none, or other `controls`, is whole.
    """

    def __init__(
        self,
        plan: Plan,
        conditionings: Sequence[Sequence[Conditioning]],
        caching: Caching,
        controls: Sequence[Control] = (),
    ) -> None:
        self._steered = steered(conditionings, controls)
        self._whole = computed(plan, caching)
        self._firsts = {segment[0] for segment in segments(plan)}
        self._kept: dict[Key, dict[int, Array]] = {}

    def begin(self, evaluation: int) -> None:
        """Let go of what an evaluation does not go on from."""
        if evaluation in self._firsts:
            self._kept.clear()

    def of(self, evaluation: int, place: int, window: int) -> Array | None:
        """What the row of a conditioning goes on from, in a window; None where it is whole."""
        if self._whole[evaluation]:
            return None
        return self._kept.get(self._steered[evaluation][place].key, {}).get(window)

    def keep(self, evaluation: int, place: int, window: int, outputs: Outputs) -> None:
        """Remember the features among what the model gave for a row; a shallow one gives none."""
        if DEEP_FEATURES in outputs:
            self._kept.setdefault(self._steered[evaluation][place].key, {})[window] = outputs[DEEP_FEATURES]

    def snapshot(self) -> Past:
        """The features on the host; waits for the device."""
        named = {each.key: each for those in self._steered for each in those}
        return {
            named[key].digest: [(window, to_host(array).copy()) for window, array in own.items()]
            for key, own in self._kept.items()
        }

    def resume(self, past: Past, device: str) -> None:
        """Go on from the features of another job, of those conditionings that this one has, too."""
        each_once = {each.key: each for those in self._steered for each in those} if past else {}
        own = {each.digest: key for key, each in each_once.items()}
        self._kept = {
            own[name]: {window: to_device(array, device) for window, array in values}
            for name, values in past.items()
            if name in own
        }
