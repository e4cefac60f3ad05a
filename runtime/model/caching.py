"""Whether a request's cache can be: of a plan long enough, and a model with the graphs for it."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundles.graph import DENOISER, DENOISER_SHALLOW
from ...bundles.manifest import Bundle
from ...errors import InputError
from ..conditioning.lora.library import UsedLora
from ..requests.request import Request
from ..sampling.caching import DEEP, computed
from ..sampling.plan import Plan
from .loras import stand_in


def check_caching(request: Request, plan: Plan, bundle: Bundle, loras: Sequence[UsedLora]) -> None:
    """Raise `InputError` where a request's cache cannot be."""
    caching = request.caching
    if caching is None:
        return
    if caching.kind == DEEP and stand_in(bundle, DENOISER_SHALLOW, bundle.name_of(DENOISER)) is None:
        raise InputError(
            f"cache 'deep' needs a graph that reuses deep features, which {bundle.model.name!r} lacks; export its "
            "checkpoint again with --deep-cache, or take 'forecast'",
            "cache",
        )
    if caching.kind == DEEP and any(used.denoiser and used.use.unet for used in loras):
        raise InputError(
            "cache 'deep' goes without LoRAs, which its shallow graph does not take; take 'forecast', or export the "
            "bundle with them by --merge-lora",
            "cache",
        )
    computed(plan, caching)
