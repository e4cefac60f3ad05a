"""OpenVINO, on CPUs and Intel's GPUs."""
