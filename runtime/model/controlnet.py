"""ControlNets: networks of a bundle of their own, whose residuals a model's denoiser adds to its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from ...bundles.controlnet import ControlNetBundle
from ...bundles.facts import TEXT_FAMILIES
from ...bundles.graph import CONTROLNET, DENOISER
from ...bundles.manifest import Bundle
from ...engines.registry import EngineOptions, open_engine
from ...engines.select import Candidate, fastest, usual_device
from ...errors import InputError, unknown
from ..conditioning.conditioning import TEXT
from ..denoising.denoiser import AREAS, CONTROL, Denoiser
from ..requests import checks
from .hint_model import HintModels
from .shipped import MODELS, find_in, shipped

CONTROLNETS = MODELS / "controlnets"
_MOST = 2**31 - 1


class ControlNet:
    """A ControlNet's graph on an engine: `denoiser` evaluates its rows, as a model's does its own.

    Several models may use one; it stays open until `close`.
    """

    def __init__(self, bundle: ControlNetBundle, denoiser: Denoiser) -> None:
        self.bundle = bundle
        self.denoiser = denoiser

    @property
    def sha256(self) -> str:
        """The hash of its graph and weights."""
        return self.bundle.by_role(CONTROLNET).sha256

    def check(self, base: Bundle) -> None:
        """Raise `InputError`, which names both, where its residuals are not those that a model's denoiser takes."""
        check_fits(self.bundle, base)

    def close(self) -> None:
        """Release the engine's memory."""
        self.denoiser.engine.close()


def check_fits(controlnet: ControlNetBundle, base: Bundle) -> None:
    """Raise `InputError`, which names both, where a model's denoiser does not take a ControlNet's residuals."""
    facts, model, denoiser = controlnet.model, base.model, base.by_role(DENOISER)
    if CONTROL not in denoiser.adapters:
        raise InputError(
            f"{model.name} was exported without inputs for ControlNets, so that {facts.name} cannot be used with "
            "it; export its checkpoint again: overpaint export CHECKPOINT BUNDLE --adapters control image",
            "controls",
        )
    text = next(spec.axes[-1] for spec in denoiser.inputs if spec.name == TEXT)
    channels = tuple(denoiser.ranges[f"{name}_channels"].most for name in denoiser.adapters[CONTROL])
    wanted: dict[str, tuple[Any, Any]] = {
        "latent channels": (facts.latent_channels, model.latent_channels),
        "pixels a latent": (facts.downscale, model.downscale),
        "numbers a token of text": (facts.text_width, text),
        "residuals of these channels": (facts.channels, channels),
    }
    for what, (own, other) in wanted.items():
        if own != other:
            family = TEXT_FAMILIES.get(facts.text_width)
            raise InputError(
                f"the ControlNet {facts.name} is of another family than {model.name}: it has {_shown(own)} {what}, "
                f"the model {_shown(other)}; {f'it is for {family}, ' if family else ''}take one that was trained for "
                "this model's family",
                "controls",
            )


def load_controlnet(
    path: str | Path,
    *,
    engine: str = "auto",
    device: str | None = None,
    precision: str | None = None,
    shapes: str = "auto",
    threads: int = 0,
    max_rows: int = 16,
    max_area: int | None = None,
    verify: bool = True,
) -> ControlNet:
    """Load a ControlNet: a bundled one by its name, such as "edges", or what `overpaint export-controlnet` made.

    The options are those of `overpaint.load`. Raises `InputError` for a number that cannot be used and an unknown name
    or engine, `BundleError` for a folder that is no ControlNet's or is altered, `EngineError` where the engine's
    library is missing.
    """
    for name, value, least in (("threads", threads, 0), ("max_rows", max_rows, 1), ("max_area", max_area or 1, 1)):
        checks.whole(name, value, least, _MOST)
    bundle = ControlNetBundle.read(find_controlnet(path), verify=verify)
    chosen = fastest(bundle, device) if engine == "auto" else Candidate(engine, device or usual_device(engine), None)
    options = EngineOptions(chosen.device, threads, precision, shapes)
    name = bundle.name_of(CONTROLNET)
    graph = bundle.graph(name)
    opened = open_engine(chosen.engine, name, graph, bundle.folder, options)
    rows = min(max_rows, graph.ranges["rows"].most)
    return ControlNet(bundle, Denoiser(opened, rows, max_area or AREAS[opened.device]))


def find_controlnet(controlnet: str | Path) -> Path:
    """The folder of a ControlNet by its name among `bundled_controlnets()`, or by its path; raises `InputError`."""
    return find_in(CONTROLNETS, "ControlNet", controlnet)


def bundled_controlnets() -> list[str]:
    """The names of the ControlNets that ship with the package."""
    return shipped(CONTROLNETS)


class ControlNets:
    """The ControlNets of a loaded model by the names that requests have for them.

    One that has not been added is opened when it is first asked for, by its path or as a bundled one, and then kept.
    `open_net` opens it; without it only those that were added can be used. Threads may share it.
    """

    def __init__(self, base: Bundle | None = None, open_net: Callable[[str], ControlNet] | None = None) -> None:
        self.hint_models = HintModels()
        """The preprocessors that are networks."""
        self._base = base
        self._open = open_net
        self._confined = False
        self._nets: dict[str, ControlNet] = {}
        self._lock = Lock()

    def add(self, name: str, net: ControlNet | str | Path) -> None:
        """Have requests call a ControlNet `name`; raises `InputError` for one that does not fit the model, and a name
        that is taken, and as `load_controlnet` does."""
        with checks.of("controls"):
            checks.text("a ControlNet's name", name)
            with self._lock:
                if name in self._nets:
                    raise InputError(f"there is a ControlNet {name!r} already; choose another name")
                self._nets[name] = self._checked(net)

    def get(self, name: str) -> ControlNet:
        """The ControlNet that a request calls `name`; raises `InputError` for one that is not known or does not fit."""
        with self._lock, checks.of("controls"):
            if name not in self._nets:
                if self._confined and name not in bundled_controlnets():
                    raise unknown("ControlNet", name, self.offered)
                self._nets[name] = self._checked(name)
            return self._nets[name]

    def confine(self) -> None:
        """Have requests name those that were added and those that ship alone, and open no path."""
        self._confined = True
        self.hint_models.confine()

    @property
    def offered(self) -> Mapping[str, str]:
        """The hashes of those that were added or opened, and of those that ship and fit the model, by their names."""
        shipped = {name: found for name in bundled_controlnets() if (found := self._fitting(name))}
        hashes = {name: bundle.by_role(CONTROLNET).sha256 for name, bundle in shipped.items()}
        return dict(sorted({**hashes, **self.hashes}.items()))

    @property
    def loaded(self) -> tuple[ControlNet, ...]:
        """Those that are open."""
        return tuple(dict.fromkeys(self._nets.values()))

    @property
    def opened(self) -> Mapping[str, ControlNet]:
        """Those that are open, by their names."""
        return dict(self._nets)

    @property
    def hashes(self) -> Mapping[str, str]:
        """The hashes of those that are open, by their names."""
        return {name: net.sha256 for name, net in self.opened.items()}

    def close(self) -> None:
        """Release the memory of all."""
        for net in self.loaded:
            net.close()
        self._nets.clear()

    def _checked(self, net: ControlNet | str | Path) -> ControlNet:
        assert self._base is not None
        assert self._open is not None
        if isinstance(net, ControlNet):
            net.check(self._base)
            return net
        check_fits(ControlNetBundle.read(find_controlnet(net), verify=False), self._base)
        return self._open(str(net))

    def _fitting(self, name: str) -> ControlNetBundle | None:
        assert self._base is not None
        bundle = ControlNetBundle.read(find_controlnet(name), verify=False)
        try:
            check_fits(bundle, self._base)
        except InputError:
            return None
        return bundle


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
