"""Measurements; the libraries are measured with their telemetry off."""

from overpaint import engines as engines
