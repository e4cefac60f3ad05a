"""The options table: a tuple of rows for each part of a request, each tool, calls and files."""
