"""The page at `/`, where a person paints."""
