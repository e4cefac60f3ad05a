"""On an NVIDIA GPU: what the stand-ins cannot show."""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import EngineError
from overpaint.bundles.manifest import Bundle
from overpaint.engines import arrays
from overpaint.engines.base import Engine
from overpaint.engines.compare import psnr
from overpaint.export.fusion.fuse import build_onnxruntime
from overpaint.runtime.denoising.loop import Step
from overpaint.runtime.denoising.loop_graphs import MOST_EVALUATIONS
from overpaint.runtime.model.load import find

pytestmark = pytest.mark.gpu

BUILT = "built for a GPU"


@pytest.fixture(scope="module")
def cupy() -> Any:
    try:
        return arrays.namespace("cuda")
    except EngineError as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module", params=["as exported", BUILT])
def pipes(
    cupy: Any, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[overpaint.Pipeline, ...]]:
    """The shipped model on the GPU and on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERPAINT_ENGINES", str(tmp_path_factory.mktemp("engines")))
        folder = tmp_path_factory.mktemp("models") / "tiny"
        shutil.copytree(find("tiny"), folder, ignore=shutil.ignore_patterns("engines"))
        if request.param == BUILT:
            build_onnxruntime(Bundle.read(folder, verify=False))
        try:
            loaded = tuple(overpaint.load(folder, engine="onnxruntime", device=device) for device in ("cuda", "cpu"))
        except EngineError as exc:
            pytest.skip(str(exc))
        yield loaded


@pytest.mark.parametrize("pipes", [BUILT], indirect=True)
def test_what_is_built_for_a_gpu_is_captured(pipes: Any) -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    pipes[0](picture, "fox", seed=1, steps=6)
    assert pipes[0].denoiser.engine.label.endswith("fused, CUDA graphs")


@pytest.mark.parametrize("pipes", [BUILT], indirect=True)
@pytest.mark.parametrize("steps", [1, MOST_EVALUATIONS])
@pytest.mark.filterwarnings("error")
def test_a_short_loop_is_one_graph(pipes: Any, steps: int) -> None:
    rng, before = np.random.default_rng(0), set(pipes[0].model.scheduler._graphs._known)
    for seed in range(5):  # run, captured, replayed
        picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
        asked = {"prompt": f"fox {seed}", "seed": seed, "steps": steps, "strength": 1, "sampler": "euler_a"}
        ours, theirs = (pipe(picture, **asked).images[0] for pipe in pipes)
        assert psnr(ours, theirs) >= 40
    (made,) = (loop for key, loop in pipes[0].model.scheduler._graphs._known.items() if key not in before)
    assert made.work is not made.plain


def test_an_upload_and_a_download(cupy: Any) -> None:
    array = np.random.default_rng(0).standard_normal((3, 5), np.float32)
    there = arrays.to_device(array, "cuda")
    assert (arrays.device_of(there), arrays.namespace_of(there)) == ("cuda", cupy)
    assert np.array_equal(arrays.to_host(there), array)


@pytest.mark.parametrize("sampler", ["ddim", "euler_a", "dpmpp_2m", "unipc", "heun"])
@pytest.mark.parametrize("options", [{}, {"guidance_rescale": 0.7}], ids=str)
def test_a_picture_is_the_cpus(pipes: Any, sampler: str, options: dict[str, Any]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for _ in range(3):  # run, captured, replayed
        ours, theirs = (pipe(picture, "fox", seed=1, steps=6, sampler=sampler, **options).images[0] for pipe in pipes)
        assert psnr(ours, theirs) >= 40


def test_a_run_queues_ahead_of_the_gpu(pipes: Any, cupy: Any) -> None:
    steps: list[Step] = []
    picture = np.zeros((64, 64, 3), np.uint8)
    for _ in range(3):
        pipes[0](picture, "fox", seed=1, steps=4, on_step=steps.append)
    assert all(isinstance(step.denoised, cupy.ndarray) for step in steps)
    assert steps[-1].preview().size == (64, 64)


def feeds(xp: Any, engine: Engine, rows: int, side: int) -> dict[str, Any]:
    """Zeros for the U-Net, as rows without adapters have them."""
    lengths = {"rows": rows, "height": side, "width": side, "tokens": 77}
    shapes = {
        spec.name: tuple(lengths.get(axis, 1) if isinstance(axis, str) else axis for axis in spec.axes)
        for spec in engine.inputs
    }
    return {name: xp.zeros(shape, np.float32) for name, shape in shapes.items()}


def test_out_of_memory_and_on(pipes: Any, cupy: Any) -> None:
    engine = pipes[0].denoiser.engine
    side = int((arrays.free_memory() / 2**17) ** 0.5)
    with pytest.raises(EngineError, match="memory does not suffice"):
        engine(feeds(cupy, engine, 16, side))
    assert engine(feeds(cupy, engine, 1, 16))["model_output"].shape == (1, 4, 16, 16)
