"""Turns a checkpoint into a bundle of verified ONNX graphs. Needs the `export` extra."""
