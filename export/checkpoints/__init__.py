"""Checkpoints read: diffusers folders and single files."""
