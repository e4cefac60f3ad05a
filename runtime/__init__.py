"""Torch-free diffusion: requests, samplers, the denoising loop."""
