"""LoRA files: read without torch, their tensors sorted by a model's layers, and how much they count."""
