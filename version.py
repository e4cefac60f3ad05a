"""The version of this package, as it is written into records and files."""

__version__ = "0.1.0"
