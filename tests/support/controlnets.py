"""A pipeline on the fake engine that ControlNets can be used with."""

from __future__ import annotations

from pathlib import Path

import overpaint
from overpaint import Pipeline
from overpaint.bundles.tensor import Array
from overpaint.engines.wrapper import Wrapper
from tests.support.bundles import fake_bundle, fake_controlnet


class Seen(Wrapper):
    """Keeps what it is fed."""

    def __init__(self, engine: object) -> None:
        super().__init__(engine)  # type: ignore[arg-type]
        self.fed: list[dict[str, Array]] = []

    def __call__(self, feeds: dict[str, Array]) -> dict[str, Array]:  # type: ignore[override]
        self.fed.append(dict(feeds))
        return super().__call__(feeds)


def controlled(folder: Path, *nets: str, **facts: object) -> Pipeline:
    """A fresh pipeline whose model knows these ControlNets; its engines keep what they are fed."""
    if not (folder / "bundle").exists():
        fake_bundle(folder / "bundle", control=True)
    for net in nets:
        if not (folder / net).exists():
            fake_controlnet(folder / net, **facts)
    pipe = overpaint.load(folder / "bundle", engine="fake", controlnets={net: folder / net for net in nets})
    pipe.denoiser.engine = Seen(pipe.denoiser.engine)
    for net in nets:
        own = pipe.model.stages.controlnets.get(net).denoiser
        own.engine = Seen(own.engine)
    return pipe


def fed(pipe: Pipeline, net: str | None = None) -> list[dict[str, Array]]:
    """What the denoiser, or a ControlNet, was fed."""
    denoiser = pipe.denoiser if net is None else pipe.model.stages.controlnets.get(net).denoiser
    assert isinstance(denoiser.engine, Seen)
    return denoiser.engine.fed
