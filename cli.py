"""The `overpaint` command: one function a command; each parses, calls and prints."""

from __future__ import annotations


def main() -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 bad usage."""
    return 0
