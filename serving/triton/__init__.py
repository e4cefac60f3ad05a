"""Models in NVIDIA Triton Inference Server: a model repository, and what its python backend runs."""
