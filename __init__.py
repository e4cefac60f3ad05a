"""Torch-free image-to-image diffusion: a picture, a prompt and a denoising strength in; a repainted picture out."""
