"""Graphs quantized to int8."""
