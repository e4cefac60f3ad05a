"""Pictures enlarged in tiles: as torch does, the same whatever the tiles, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint.bundles.upscaler import UpscalerBundle
from overpaint.cli import main
from overpaint.errors import BundleError, InputError
from overpaint.export.upscaler import export_upscaler
from overpaint.runtime.diagnostics.calibration import Recorder
from overpaint.runtime.model.upscaler import bundled_upscalers
from tests.support.upscalers import compact, rrdb, run_compact, run_rrdb, write

Pixels = NDArray[np.uint8]
# As far as the networks of the tests see: 3 convolutions at the input's size, and the last.
REACH = 4


def picture(height: int, width: int) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def floats(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def whole(made: torch.Tensor) -> Pixels:
    return (made[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def apart(ours: Pixels, theirs: Pixels) -> int:
    assert (ours.shape, ours.dtype) == (theirs.shape, np.uint8)
    return int(np.abs(ours.astype(int) - theirs).max())


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compact")
    return export_upscaler(write(compact(), folder / "net.safetensors"), folder / "bundle").folder


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_as_torch_does(upscaler: UpscalerBundle, engine: str) -> None:
    pixels = picture(30, 46)
    ours = overpaint.load_upscaler(upscaler.folder, engine=engine, precision="float32")(pixels)
    assert apart(ours, whole(run_rrdb("realesrgan", rrdb("realesrgan", 2, 2), floats(pixels), 2, 2))) <= 1


@pytest.mark.parametrize("tile", [9, 16, 33, 64])
@pytest.mark.parametrize("size", [(40, 56), (7, 70), (1, 1), (64, 64)])
def test_any_tile_gives_the_same(small: Path, tile: int, size: tuple[int, int]) -> None:
    pixels = picture(*size)
    made = overpaint.load_upscaler(small, engine="onnxruntime", tile=tile, overlap=2 * REACH)(pixels)
    assert apart(made, whole(run_compact(compact(), floats(pixels)))) <= 1


def test_sides_that_are_no_multiples_are_continued(upscaler: UpscalerBundle) -> None:
    pixels = picture(13, 21)
    upscale = overpaint.load_upscaler(upscaler.folder, engine="onnxruntime")
    padded = np.pad(pixels, ((0, 1), (0, 1), (0, 0)), "reflect")
    assert upscale.scale == 2
    assert apart(upscale(pixels), upscale(padded)[:26, :42]) == 0
    assert upscale(picture(1, 3)).shape == (2, 6, 3)


def test_tiles_are_told_and_bounded(upscaler: UpscalerBundle) -> None:
    upscale = overpaint.load_upscaler(upscaler.folder, engine="fake", tile=20, overlap=4)
    recorder = upscale.engine = Recorder(upscale.engine)
    told: list[tuple[int, int]] = []
    shapes: set[tuple[int, ...]] = set()

    def report(done: int, total: int) -> None:
        told.append((done, total))
        shapes.add(recorder.fed[-1]["pixels"].shape)

    upscale(picture(50, 30), report)
    assert told == [(index, 6) for index in range(1, 7)]
    assert shapes == {(1, 3, 20, 20)}


def test_what_is_raised_while_it_works_ends_it(small: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        overpaint.load_upscaler(small)(picture(8, 8), stop)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_that_are_no_picture(small: Path, pixels: Pixels) -> None:
    with pytest.raises(InputError, match=r"takes uint8 \[height, width, 3\]"):
        overpaint.load_upscaler(small, engine="fake")(pixels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": -1}, "tile must be a whole number"),
        ({"overlap": 0.5}, "overlap must be a whole number"),
        ({"tile": 32, "overlap": 32}, "more than the overlap, 32"),
        ({"tile": 5000}, "at most 4096"),
        ({"engine": "onnxruntim"}, "did you mean 'onnxruntime'"),
    ],
)
def test_options(small: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        overpaint.load_upscaler(small, **options)


def test_bundles_that_are_wrong(small: Path, fake_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is a model, not an upscaler; name it as a model$"):
        overpaint.load_upscaler(fake_folder)
    copy = Path(shutil.copytree(small, tmp_path / "copy"))
    record = json.loads((copy / "bundle.json").read_text())
    for field, value in {"scale": 0, "multiple": "2", "default_size": [0, 8]}.items():
        (copy / "bundle.json").write_text(json.dumps(record | {"model": record["model"] | {field: value}}))
        with pytest.raises(BundleError, match="missing, unknown or wrong"):
            overpaint.load_upscaler(copy)
    (copy / "bundle.json").write_text(json.dumps(record))
    (copy / "upscaler.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is altered"):
        overpaint.load_upscaler(copy, verify=False)


COLOURS = np.array([(40, 90, 200), (200, 30, 30), (255, 255, 255)])


def disk(side: int) -> Pixels:
    """A blue disk with a red rim on white, antialiased."""
    at = (np.arange(4 * side) + 0.5) / (4 * side) - 0.5
    distance = np.hypot(*np.meshgrid(at, at))
    colours = COLOURS[np.digitize(distance, (0.25, 0.35))]
    return np.rint(colours.reshape(side, 4, side, 4, 3).mean((1, 3))).astype(np.uint8)


def steepest(pixels: Pixels) -> int:
    """The greatest step of green from one pixel to the next in a row."""
    return int(np.abs(np.diff(pixels[..., 1].astype(int), axis=1)).max())


def test_the_one_that_ships_draws_sharp_outlines() -> None:
    shipped = overpaint.load_upscaler("compact")
    assert (shipped.scale, shipped.bundle.model.name) == (4, "compact")
    lanczos = np.asarray(Image.fromarray(disk(48)).resize((192, 192), Image.Resampling.LANCZOS))
    assert steepest(shipped(disk(48))) > 1.5 * steepest(lanczos)


def test_names() -> None:
    assert bundled_upscalers() == ["compact"]
    assert "compact" not in overpaint.bundled()
    with pytest.raises(
        InputError, match=r"unknown upscaler 'compakt'; did you mean 'compact'\? Or give a bundle's path"
    ):
        overpaint.load_upscaler("compakt")
    with pytest.raises(InputError, match="a bundle's path or one of compact"):
        overpaint.load_upscaler("")


def test_command_line(tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(disk(16)).save(small)
    options = ["--scale", "4", "--strength", "0", "--upscaler", "compact"]
    assert main(["upscale", str(small), "-o", str(tmp_path / "large.png"), *options]) == 0
    with Image.open(tmp_path / "large.png") as image:
        assert np.array_equal(np.asarray(image), overpaint.load_upscaler("compact")(disk(16)))
