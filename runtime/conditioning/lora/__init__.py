"""LoRA files: read without torch, named, and brought into the layout that a bundle's graphs take."""
