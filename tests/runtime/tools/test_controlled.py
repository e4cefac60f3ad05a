"""ControlNets in tools: hints are cut where the model works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from overpaint import Control, InputError, Pipeline
from tests.support.controlnets import controlled, fed

WHOLE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
HINT = np.random.default_rng(1).integers(0, 256, (96, 128, 3), np.uint8)
OPTIONS = {"seed": 1, "steps": 2, "strength": 1.0, "guidance_scale": 1.0}


@pytest.fixture
def pipe(tmp_path: Path) -> Pipeline:
    return controlled(tmp_path, "net")


def hints(pipe: Pipeline) -> list[np.ndarray]:
    """What the ControlNet was shown, uint8 [height, width, 3]."""
    return [
        np.rint(row * 255).astype(np.int16).transpose(1, 2, 0) for feeds in fed(pipe, "net") for row in feeds["hint"]
    ]


def is_part(hint: np.ndarray, whole: np.ndarray) -> bool:
    height, width = hint.shape[:2]
    places = np.argwhere((whole[..., 0] == hint[0, 0, 0]) & (whole[..., 1] == hint[0, 0, 1]))
    return any(np.array_equal(whole[top : top + height, left : left + width], hint) for top, left in places)


def test_inpainting_shows_the_part_that_is_worked_on(pipe: Pipeline) -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[20:40, 60:80] = 255
    common = {**OPTIONS, "only_masked": True, "size": (48, 48), "padding": 14, "content": "fill", "blur": 0}
    pipe.inpaint(WHOLE, mask, "a", controls=[Control("net", HINT)], **common)
    size = hints(pipe)[0].shape
    assert size == (48, 48, 3)
    assert is_part(hints(pipe)[0], HINT)
    fed(pipe, "net").clear()
    result = pipe.inpaint(WHOLE, mask, "a", controls=[Control("net")], **common)
    assert is_part(hints(pipe)[0], WHOLE)  # what was there, not what it is filled with
    assert result.outputs[0].certificate is not None
    assert '"net"' in (result.outputs[0].record or "")


def test_what_is_masked_is_hidden(pipe: Pipeline) -> None:
    mask = np.zeros((96, 128), np.uint8)
    mask[20:40, 60:80] = 255
    control = Control("net", preprocessor="inpaint_only")
    pipe.inpaint(WHOLE, mask, "a", controls=[control], only_masked=False, blur=0, **OPTIONS)
    hint = fed(pipe, "net")[0]["hint"][0]
    assert (hint[:, 20:40, 60:80] == -1).all()
    assert np.array_equal(hint[:, :20], WHOLE[:20].transpose(2, 0, 1) / np.float32(255))
    with pytest.raises(InputError, match="needs a mask"):
        pipe(WHOLE, "a", controls=[control])


def test_outpainting_shows_each_area(pipe: Pipeline) -> None:
    grown = np.random.default_rng(2).integers(0, 256, (96, 256, 3), np.uint8)
    margins = {"left": 32, "right": 96, "size": (96, 96)}
    pipe.outpaint(
        WHOLE, "a", controls=[Control("net", grown), Control("net", preprocessor="inpaint")], **margins, **OPTIONS
    )
    shown = [hint for hint in hints(pipe) if hint.min() >= 0]
    assert len(shown) > 4
    assert all(is_part(hint, grown) for hint in shown)
    assert any(np.array_equal(hint[:, :8], grown[: hint.shape[0], :8]) for hint in shown)
    assert any(np.array_equal(hint[:, -8:], grown[: hint.shape[0], -8:]) for hint in shown)


@pytest.mark.parametrize("method", ["joint", "tiles"])
def test_tiles_are_shown_their_own_part_of_the_enlarged_picture(pipe: Pipeline, method: str) -> None:
    sizes = {"overlap": 16} if method == "joint" else {"padding": 8}
    common = {**OPTIONS, "method": method, "tile": 64, "scale": 1.5, "repair": False, **sizes}
    pipe.upscale(WHOLE, "a", controls=[Control("net")], **common)
    enlarged = np.asarray(pipe.read(WHOLE).image.resize((192, 144), 1), np.int16)
    assert len(hints(pipe)) >= 6
    inside = [hint for hint in hints(pipe) if is_part(hint, enlarged)]
    assert len(inside) == len(hints(pipe))


def test_a_tool_refuses_an_unknown_net_before_it_runs(pipe: Pipeline) -> None:
    for verb in (pipe.upscale, pipe.outpaint):
        with pytest.raises(InputError, match="ControlNet") as raised:
            verb(WHOLE, "a", controls=[Control("nte")], **({"left": 8} if verb == pipe.outpaint else {}))
        assert raised.value.field == "controls"
