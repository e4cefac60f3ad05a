"""ComfyUI's server interface, on a port of its own."""
