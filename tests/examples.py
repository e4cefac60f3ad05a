"""The pictures that ship with the package, by name: what else lies in their folder is somebody's own."""

from overpaint.runtime.load import MODELS

NAMES = ("cat", "fox", "hamburger-sketch", "house-sketch", "octopus", "pizza", "rocket", "strawberry")
EXAMPLES = [MODELS / f"examples/{name}.png" for name in NAMES]
