"""Pictures in and out: decoding, colour, resizing, metadata, encoding."""
