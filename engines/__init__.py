"""Runs compiled graphs; knows nothing of diffusion."""

from .telemetry import disable

disable()
