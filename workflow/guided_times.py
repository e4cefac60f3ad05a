"""When what steers a sampling counts."""

from __future__ import annotations

from ..runtime.sampling.flow import FlowSchedule
from ..runtime.sampling.levels import ModelSchedule


def percent_sigma(schedule: ModelSchedule | FlowSchedule, percent: float) -> float:
    """The sigma at a share of the sampling (comfy/model_sampling.py, percent_to_sigma)."""
    if percent <= 0:
        return 999999999.9
    return 0.0 if percent >= 1 else schedule.ratio_at(1 - percent)
