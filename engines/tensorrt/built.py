"""Which of the engines on disk fits a graph, a library and a processor, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ...bundles.graph import Graph, Range
from ...bundles.profile import Profile
from ...bundles.store import Key
from ...errors import EngineError

# How an engine holds its weights, in the order in which engines are preferred.
WEIGHTS = WHOLE, REFITTABLE, WEIGHTLESS = "", ", refittable", ", weightless"
LIBRARIES = "tensorrt", "tensorrt_rtx"
# What to do to have an engine for some lengths of a graph's axes.
Advice = Callable[[Sequence[Mapping[str, Range]]], str]

_JOIN = " | "


def engine_key(
    name: str, graph: Graph, profiles: Iterable[Profile], builder: str, version: str, architecture: str, weights: str
) -> Key:
    """The key of an engine; `architecture` are the processors that it is for, such as "sm_86 sm_89"."""
    text = _JOIN.join(map(str, profiles))
    return Key(name, graph.sha256, text, graph.precision + weights, builder, version, architecture)


def profiles_of(key: Key) -> tuple[Profile, ...]:
    """The profiles of an engine of TensorRT's, in the order of their indices."""
    return tuple(Profile.parse(text) for text in key.profile.split(_JOIN))


def choose(keys: Iterable[Key], wanted: Key, advice: Advice) -> list[Key]:
    """The engines that are `wanted`, with any profiles, those that hold their weights first.

    Raises `EngineError` where there are none: what sets the nearest apart, and what to run.
    """
    there = [key for key in keys if key.graph == wanted.graph and key.library in LIBRARIES]
    fitting = [key for key in there if _matching(wanted, key) == key]
    if fitting:
        return sorted(fitting, key=lambda key: WEIGHTS.index(key.precision.removeprefix(wanted.precision)))
    if not there:
        raise EngineError(f"{wanted.graph}: {wanted.library} has built no engine of it; {advice([])}")
    nearest = min(there, key=lambda key: len(_matching(wanted, key).differences(key)))
    reason = "; ".join(_matching(wanted, nearest).differences(nearest))
    raise EngineError(f"{wanted.graph}: the engine that is there cannot be used ({reason}); {advice(_axes(nearest))}")


def rebuild(key: Key, advice: Advice) -> str:
    """What to do to have an engine built again."""
    return advice(_axes(key))


def _axes(key: Key) -> list[Mapping[str, Range]]:
    return [profile.axes for profile in profiles_of(key)]


def _matching(wanted: Key, key: Key) -> Key:
    """`wanted`, with what may differ taken from `key`: the profiles, other processors, how the weights are held."""
    kinds = [wanted.precision + kind for kind in WEIGHTS]
    return replace(
        wanted,
        profile=key.profile,
        architecture=key.architecture if wanted.architecture in key.architecture.split() else wanted.architecture,
        precision=key.precision if key.precision in kinds else wanted.precision,
    )
