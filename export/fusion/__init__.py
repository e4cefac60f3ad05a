"""ONNX graphs rewritten into the operators that engines are fast with."""
