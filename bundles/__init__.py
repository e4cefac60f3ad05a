"""Bundles: folders of graphs with a manifest, the only contract of export and runtime."""
