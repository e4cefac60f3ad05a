"""Runs compiled graphs; knows nothing of diffusion."""
