"""Schedules, samplers, strength and noise: everything that is arithmetic on noise levels."""
