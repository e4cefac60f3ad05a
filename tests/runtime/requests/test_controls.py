"""A request's controls: what can be said, what is refused, and what becomes of it in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overpaint
from overpaint import Control, InputError
from overpaint.runtime.provenance.control_texts import ControlText, read_control
from overpaint.runtime.provenance.frozen import freeze, thaw
from overpaint.runtime.replay import Again
from tests.support.controlnets import controlled, fed

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"net": " "}, "names no ControlNet"),
        ({"net": 3}, "must be text"),
        ({"weight": float("nan")}, "weight must be a number from 0 to 2"),
        ({"weight": 2.5}, "weight must be a number from 0 to 2"),
        ({"start": -0.1}, "start must be a number from 0 to 1"),
        ({"start": 0.6, "end": 0.5}, "put the start first"),
        ({"mode": "balance"}, "did you mean 'balanced'"),
        ({"fit": "fill"}, "fit of a control's image"),
        ({"preprocessor": "cany"}, "did you mean 'canny'"),
        ({"preprocessor": "depth_midas"}, "onnx:FILE"),
        ({"preprocessor": "canny", "thresholds": (1, 2, 3)}, "3 thresholds"),
        ({"preprocessor": "blur", "thresholds": (100,)}, "sigma is a number from"),
        ({"resolution": 1.5}, "resolution must be a whole number"),
        ({"image": "nowhere.png"}, "nowhere.png"),
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        Control(**{"net": "edges", **fields})
    assert raised.value.field == "controls"


def test_what_is_no_control_is_refused(fake: overpaint.Pipeline) -> None:
    with pytest.raises(InputError, match=r"overpaint\.Control"):
        fake(PICTURE, "a", controls=["edges"])  # type: ignore[typeddict-item]
    with pytest.raises(InputError, match="is called 'controls' here"):
        fake(PICTURE, "a", controlnet="edges")  # type: ignore[call-arg]


def test_a_model_without_the_inputs_says_how_to_export_it(fake: overpaint.Pipeline, tmp_path: Path) -> None:
    controlled(tmp_path, "net")
    with pytest.raises(InputError, match="export its checkpoint again: overpaint export") as raised:
        fake(PICTURE, "a", controls=[Control(str(tmp_path / "net"))])
    assert raised.value.field == "controls"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"text_width": 16}, "16 numbers a token of text, the model 8"),
        ({"latent_channels": 16}, "16 latent channels, the model 4"),
        ({"downscale": 8}, "8 pixels a latent, the model 4"),
        ({"channels": (8, 8, 32)}, "8, 8, 32 residuals of these channels, the model 8, 8, 16"),
    ],
)
def test_one_of_another_family_is_refused_with_both_names(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"the ControlNet strange is of another family than fake: it has {message}"):
        controlled(tmp_path, "strange", **facts)


def test_an_unknown_name_has_the_nearest(tmp_path: Path) -> None:
    pipe = controlled(tmp_path, "net")
    with pytest.raises(InputError, match="ControlNet"):
        pipe(PICTURE, "a", controls=[Control("nte")])
    with pytest.raises(InputError, match="there is a ControlNet 'net' already"):
        pipe.model.add_controlnet("net", tmp_path / "net")


def test_an_image_of_its_own_is_a_finished_hint(tmp_path: Path) -> None:
    pipe = controlled(tmp_path, "net", preprocessor="invert")
    own = np.full((40, 56, 3), 51, np.uint8)
    pipe(PICTURE, "a", seed=1, strength=1, steps=2, controls=[Control("net", own)])
    assert np.allclose(fed(pipe, "net")[0]["hint"], 0.2)
    fed(pipe, "net").clear()
    pipe(own, "a", seed=1, strength=1, steps=2, controls=[Control("net")])
    assert np.allclose(fed(pipe, "net")[0]["hint"], 0.8)


@pytest.mark.parametrize(
    ("own", "level", "preprocessor", "noted"),
    [("canny", 255, "", True), ("canny", 255, "canny", False), ("canny", 51, "", False), ("invert", 255, "", False)],
)
def test_a_hint_of_black_lines_is_noted(tmp_path: Path, own: str, level: int, preprocessor: str, noted: bool) -> None:
    pipe = controlled(tmp_path, "net", preprocessor=own)
    control = Control("net", np.full((40, 56, 3), level, np.uint8), preprocessor=preprocessor)
    notes = pipe(PICTURE, "a", seed=1, strength=1, steps=2, controls=[control]).outputs[0].notes
    assert any("mostly white" in note and "add preprocessor=canny" in note for note in notes) == noted


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_an_image_of_another_shape_is_fitted_and_noted(tmp_path: Path, fit: str) -> None:
    pipe = controlled(tmp_path, "net")
    wide = np.zeros((20, 100, 3), np.uint8)
    wide[:, 50:] = 255
    result = pipe(PICTURE, "a", seed=1, strength=1, steps=2, controls=[Control("net", wide, fit=fit)])
    assert fed(pipe, "net")[0]["hint"].shape == (2, 3, 40, 56)
    assert "100x20, of another shape than the picture" in result.outputs[0].notes[0]


def test_the_working_resolution_is_of_the_shorter_side(tmp_path: Path) -> None:
    pipe = controlled(tmp_path, "net")
    for image in (None, PICTURE):
        made = pipe.prepare(
            overpaint.Request(
                pipe.read(PICTURE), controls=(Control("net", image, preprocessor="canny", resolution=20),)
            )
        )
        assert made.controls[0].hint.shape == (3, 40, 56)
        assert 0 <= made.controls[0].hint.min() <= made.controls[0].hint.max() <= 1


def test_one_number_weighs_all_controls(tmp_path: Path) -> None:
    pipe = controlled(tmp_path, "net", "other")
    options = {"seed": 1, "steps": 2, "strength": 1}
    controls = [Control("net", weight=0.8), Control("other", weight=0.5)]
    half = [Control("net", weight=0.4), Control("other", weight=0.25)]
    made = pipe(PICTURE, "a", controls=controls, control_weight=0.5, **options).outputs[0]
    assert np.array_equal(made.image, pipe(PICTURE, "a", controls=half, **options).images[0])
    assert "Weight: 0.4" in made.parameters
    fed(pipe, "net").clear()
    off = pipe(PICTURE, "a", controls=controls, control_weight=0, **options).images[0]
    assert np.array_equal(off, pipe(PICTURE, "a", **options).images[0])
    assert not fed(pipe, "net")
    with pytest.raises(InputError, match=r"weight must be a number from 0 to 2, not 3\.0") as raised:
        pipe(PICTURE, "a", controls=[Control("net", weight=1.5)], control_weight=2, **options)
    assert raised.value.field == "controls"
    assert pipe.grid(PICTURE, "a", {"control_weight": (0.0, 1.0)}, controls=controls, **options).width > 512


def test_the_infotext_has_the_name_that_requests_know(tmp_path: Path) -> None:
    pipe = controlled(tmp_path, "net")
    pipe.model.add_controlnet("edges", tmp_path / "net")
    for net, shown in {"edges": "edges", str(tmp_path / "net"): "net"}.items():
        request = overpaint.Request(pipe.read(PICTURE), controls=(Control(net),))
        assert f"Model: {shown} [" in pipe.prepare(request).parameters


def test_controls_go_into_records_and_back() -> None:
    own = Control("edges", PICTURE, 0.5, 0.1, 0.9, "guess", "canny", (50, 100), 64, "pad", "x")
    frozen = freeze((own,))
    (back,) = thaw(frozen, lambda reference: overpaint.read(PICTURE))
    assert freeze((back,)) == frozen


def test_a_picture_with_a_control_is_made_again(tmp_path: Path) -> None:
    pipe = controlled(tmp_path, "net")
    overpaint.read(PICTURE).image.save(tmp_path / "in.png")
    overpaint.read(255 - PICTURE).image.save(tmp_path / "hint.png")
    control = Control("net", tmp_path / "hint.png", 0.5)
    result = pipe(tmp_path / "in.png", "a", seed=1, controls=[control])
    result.outputs[0].save(tmp_path / "out.png")
    again = Again(tmp_path / "out.png")
    assert again.record.controlnets == {"net": pipe.model.stages.controlnets.get("net").sha256}
    assert again.record.loading["controlnets"] == {"net": str(tmp_path / "net")}
    replayed = again.run(again.load())
    assert replayed.equal
    assert replayed.differences == ()


def test_the_infotext_is_that_of_the_extension(tmp_path: Path) -> None:
    own = Control("edges", weight=0.8, end=0.7, mode="prompt", preprocessor="canny", resolution=512, fit="pad")
    text = str(ControlText(own, "edges", "0123456789abcdef", "canny"))
    assert text == (
        "Module: canny, Model: edges [01234567], Weight: 0.8, Resize Mode: Resize and Fill, Processor Res: 512, "
        "Threshold A: 100, Threshold B: 200, Guidance Start: 0, Guidance End: 0.7, Pixel Perfect: False, "
        "Control Mode: My prompt is more important"
    )
    back = read_control(text)
    assert (back.net, back.weight, back.end, back.mode, back.fit) == ("edges", 0.8, 0.7, "prompt", "pad")
    assert (back.preprocessor, back.thresholds, back.resolution) == ("canny", (100, 200), 512)
    pipe = controlled(tmp_path, "net")
    result = pipe(PICTURE, "a", seed=1, controls=[Control("net", preprocessor="invert")])
    infotext = overpaint.from_infotext(result.outputs[0].parameters + "\n", "img2img")
    (read,) = infotext.options["controls"]
    assert (read.net, read.preprocessor, read.resolution) == ("net", "invert", 0)
    assert any("follow the picture" in note for note in infotext.notes)


def test_the_extensions_own_text_is_read() -> None:
    read = read_control(
        "Module: invert (from white bg & black line), Model: control_v11p_sd15_canny [d14c016b], Weight: 1.0, "
        "Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: -1, Threshold B: -1, Guidance Start: 0.0, "
        "Guidance End: 1.0, Pixel Perfect: True, Control Mode: ControlNet is more important"
    )
    assert (read.net, read.preprocessor, read.thresholds) == ("control_v11p_sd15_canny", "invert", ())
    assert (read.mode, read.resolution) == ("control", 0)
    with pytest.raises(InputError, match="no control mode"):
        read_control("Module: none, Model: a, Control Mode: Otherwise")
