"""Built engines on a GPU give what ONNX Runtime gives on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

import overpaint
from overpaint import EngineError
from overpaint.bundles.graph import Graph, Range
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes, profiles
from overpaint.bundles.tensor import Array
from overpaint.engines.compare import psnr
from overpaint.engines.registry import EngineOptions, open_engine
from overpaint.engines.tensorrt.engine import TensorRTEngine
from overpaint.engines.tensorrt.library import library
from overpaint.export.tensorrt import build, target
from overpaint.runtime.model.load import find

SIZES, BATCH = Sizes((32, 32), (64, 96)), Range(1, 1, 2)
LIBRARIES = ("tensorrt", "tensorrt_rtx")
NAMES = ("text_encoder", "unet", "vae_encoder", "vae_decoder")

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.read(find("tiny"), verify=False)


@pytest.fixture(scope="module", params=LIBRARIES)
def builder(request: pytest.FixtureRequest, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A library that has built all graphs, where it and a GPU are there."""
    try:
        library(request.param)
        from overpaint.engines.tensorrt.device import shared

        shared()
    except EngineError as exc:
        pytest.skip(str(exc))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERPAINT_ENGINES", str(tmp_path_factory.mktemp(request.param)))
        list(build(bundle, target(request.param), [SIZES, Sizes((64, 64), (64, 64))], BATCH))
        yield request.param


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest, builder: str, bundle: Bundle) -> Iterator[TensorRTEngine]:
    name = request.param
    opened = open_engine(builder, name, bundle.graph(name), bundle.folder, EngineOptions("cuda"))
    assert isinstance(opened, TensorRTEngine)
    yield opened
    opened.close()


def feeds(graph: Graph, lengths: dict[str, int]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    made = {}
    for spec in graph.inputs:
        shape = tuple(lengths[axis] if isinstance(axis, str) else axis for axis in spec.axes)
        drawn = rng.integers(0, 1000, shape) if spec.axes and spec.dtype == "int64" else rng.standard_normal(shape)
        made[spec.name] = np.asarray(drawn if spec.axes else 0).astype(spec.dtype)
    return made


def corners(engine: TensorRTEngine, bundle: Bundle) -> list[dict[str, int]]:
    wide = profiles(engine.name, bundle.graph(engine.name), bundle.model, [SIZES], BATCH)[-1].axes
    return [{axis: getattr(span, end) for axis, span in wide.items()} for end in ("least", "usual", "most")]


def near(found: dict[str, Array], expected: dict[str, Array]) -> bool:
    return all(
        np.linalg.norm(found[name] - expected[name]) <= 5e-3 * np.linalg.norm(expected[name]) for name in expected
    )


def test_each_shape_gives_what_onnx_runtime_gives_however_often_it_comes(
    engine: TensorRTEngine, bundle: Bundle
) -> None:
    graph = bundle.graph(engine.name)
    reference = open_engine("onnxruntime", engine.name, graph, bundle.folder, EngineOptions())
    for lengths in corners(engine, bundle):
        given = feeds(graph, lengths)
        expected = reference(given)
        assert all(near(engine(given), expected) for _ in range(4))


def test_arrays_of_the_device_stay_there(engine: TensorRTEngine, bundle: Bundle) -> None:
    cupy = pytest.importorskip("cupy")
    given = feeds(bundle.graph(engine.name), corners(engine, bundle)[1])
    expected = engine(given)
    found = engine({name: cupy.asarray(array) for name, array in given.items()})
    assert all(isinstance(array, cupy.ndarray) for array in found.values())
    assert near({name: array.get() for name, array in found.items()}, expected)


def test_a_picture_is_what_onnx_runtime_makes(builder: str, picture: NDArray[np.uint8]) -> None:
    options = {"prompt": "fox, ink style", "steps": 6, "strength": 0.6, "guidance_scale": 3, "seed": 7}
    expected, found = (
        overpaint.load("tiny", engine=engine, device=device)(picture, **options).images[0]
        for engine, device in (("onnxruntime", "cpu"), (builder, "cuda"))
    )
    assert psnr(found, expected) > 30


def test_a_short_loop_is_one_graph_and_paints_the_same(
    builder: str, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = overpaint.load("tiny", engine=builder, device="cuda")
    by_step = overpaint.load("tiny", engine=builder, device="cuda")
    monkeypatch.setattr(by_step.model.scheduler._graphs, "key", lambda *_: None)
    for seed in range(5):
        options = {"prompt": f"fox {seed}", "sampler": "euler_a", "steps": 4, "strength": 0.5, "seed": seed}
        ours, theirs = (np.asarray(one(picture, **options).images[0]) for one in (pipe, by_step))
        assert np.array_equal(ours, theirs)
    if builder == "tensorrt":  # the other captures each evaluation itself
        assert any(
            loop is not None and loop.work is not loop.plain for loop in pipe.model.scheduler._graphs._known.values()
        )
