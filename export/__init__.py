"""Turns a checkpoint into a bundle of verified ONNX graphs. Needs the `export` extra."""

from .bundle import OPSET, PRECISIONS, Precision, Report, export_bundle

__all__ = ["OPSET", "PRECISIONS", "Precision", "Report", "export_bundle"]
