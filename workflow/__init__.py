"""Workflows: graphs of nodes in ComfyUI's formats, run on the model's stages."""
