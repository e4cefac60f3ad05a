"""Workflows as ComfyUI's page saves them, read into the API format."""
