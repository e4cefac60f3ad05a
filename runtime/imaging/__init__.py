"""Pictures in and out: decoding, colour, resizing, metadata, encoding; masks, filling, matching, tiles, composing."""
