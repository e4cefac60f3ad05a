"""The service under load: see `python -m benchmarks.serving --help`."""
