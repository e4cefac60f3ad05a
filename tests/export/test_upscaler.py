"""Upscalers of the ESRGAN family: every way their weights are named, what is written, what is refused."""

import pickle
from pathlib import Path

import pytest
import torch

from overpaint.bundles.graph import Range
from overpaint.bundles.kinds import open_bundle
from overpaint.bundles.manifest import Bundle
from overpaint.bundles.sizes import Sizes, profiles
from overpaint.bundles.upscaler import UpscalerBundle
from overpaint.cli import main
from overpaint.errors import BundleError, ExportError, InputError
from overpaint.export.upscaler import export_upscaler, load_upscaler
from tests.support.upscalers import compact, rrdb, run_compact, run_rrdb, write

X = torch.rand(2, 3, 12, 20)


@pytest.mark.parametrize("style", ["esrgan", "bsrgan", "realesrgan"])
@pytest.mark.parametrize(("ups", "fold", "scale"), [(1, 1, 2), (2, 1, 4), (3, 1, 8), (2, 2, 2), (2, 4, 1)])
def test_rrdbnet_by_any_names(tmp_path: Path, style: str, ups: int, fold: int, scale: int) -> None:
    state = rrdb(style, ups, fold)
    net = load_upscaler(write(state, tmp_path / "net.safetensors"))
    assert (type(net).__name__, net.scale, net.multiple) == ("RRDBNet", scale, fold)
    torch.testing.assert_close(net(X), run_rrdb(style, state, X, ups, fold))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_compact(tmp_path: Path, scale: int) -> None:
    state = compact(scale)
    net = load_upscaler(write(state, tmp_path / "net.pth", "params"))
    assert (type(net).__name__, net.scale, net.multiple) == ("SRVGGNetCompact", scale, 1)
    torch.testing.assert_close(net(X), run_compact(state, X, scale))


def test_the_running_mean_is_taken(tmp_path: Path) -> None:
    kept, other = compact(seed=1), compact(seed=2)
    torch.save({"params": other, "params_ema": kept}, tmp_path / "net.pth")
    torch.testing.assert_close(load_upscaler(tmp_path / "net.pth")(X), run_compact(kept, X))


def test_half_weights_are_computed_in_float32(tmp_path: Path) -> None:
    net = load_upscaler(
        write({name: tensor.half() for name, tensor in compact().items()}, tmp_path / "net.safetensors")
    )
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_the_bundle(upscaler: UpscalerBundle) -> None:
    assert UpscalerBundle.read(upscaler.folder) == upscaler == open_bundle(upscaler.folder)
    facts, graph = upscaler.model, upscaler.graph("upscaler")
    assert (facts.architecture, facts.scale, facts.multiple) == ("RRDBNet", 2, 2)
    assert graph.ranges["height"] == Range(2, 256, 4096, 2)
    assert "torch" in graph.receipt.source
    assert "diffusers" not in graph.receipt.source
    assert len(graph.receipt.checks) == 3
    assert all(0 < check.error <= 1e-4 for check in graph.receipt.checks)
    assert "RRDBNet" in upscaler.describe()


def test_profiles_are_of_tiles(upscaler: UpscalerBundle) -> None:
    graph = upscaler.graph("upscaler")
    made = profiles("upscaler", graph, upscaler.model, [Sizes.parse("64-512")], Range(1, 1, 1))
    assert made[0].shapes(graph.inputs[0]) == ((1, 3, 64, 64), (1, 3, 256, 256), (1, 3, 512, 512))


def test_kinds_are_told_apart(upscaler: UpscalerBundle) -> None:
    with pytest.raises(BundleError, match=r"is an upscaler, not a model; name it as an upscaler$"):
        Bundle.read(upscaler.folder)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, target = write(compact(2), tmp_path / "net.pth"), tmp_path / "bundle"
    options = ("--weights", "float16")
    assert main(["export-upscaler", str(file), str(target), *options]) == 0
    assert "SRVGGNetCompact" in capsys.readouterr().out
    assert UpscalerBundle.read(target).graph("upscaler").weights == "float16"
    assert main(["info", str(target)]) == 0
    assert main(["export-upscaler", str(file), str(target)]) == 2
    assert main(["info", str(target), "--engines"]) == 0
    assert "onnxruntime on cpu" in capsys.readouterr().out


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write(compact(), tmp_path / "net.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "garbage.pth").write_bytes(bytes(range(256)))
    (tmp_path / "cut.safetensors").write_bytes(write(compact(), tmp_path / "net.safetensors").read_bytes()[:500])
    (tmp_path / "code.pth").write_bytes(pickle.dumps({"params": Code()}, 2))
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "net.onnx").write_bytes(b"")
    messages = {
        "cut.pth": "truncated",
        "empty.pth": "truncated",
        "garbage.pth": "truncated",
        "cut.safetensors": "cannot be read as safetensors",
        "code.pth": "can run any code",
        "list.pth": "holds a list",
        "net.onnx": "neither",
        "nothing.pth": "no such file",
    }
    for name, message in messages.items():
        with pytest.raises(InputError, match=message):
            export_upscaler(tmp_path / name, tmp_path / "bundle")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "bundle").exists()


def test_other_networks(tmp_path: Path) -> None:
    other = write({"layers.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"holds no upscaler that is known \(RRDBNet, SRVGGNetCompact\)"):
        load_upscaler(other)
    state = rrdb("realesrgan")
    broken = {
        "1 unknown": state | {"body.0.rdb1.conv1x1.weight": torch.zeros(3)},
        "1 missing": {name: tensor for name, tensor in state.items() if name != "conv_hr.bias"},
        "conv_last.weight": {name: tensor for name, tensor in state.items() if name != "conv_last.weight"},
        "size mismatch": state | {"conv_hr.weight": torch.zeros(8, 9, 3, 3)},
        "5 channels in": state | {"conv_first.weight": torch.zeros(8, 5, 3, 3)},
    }
    for message, wrong in broken.items():
        with pytest.raises(ExportError, match=message):
            load_upscaler(write(wrong, tmp_path / "net.safetensors"))
