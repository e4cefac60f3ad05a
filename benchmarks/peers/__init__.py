"""The same pictures by overpaint and by its peers, each in a process of its own: `python -m benchmarks.peers`."""
