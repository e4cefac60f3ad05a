"""ControlNets of documents, by the names that a server gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import overpaint
from overpaint import Control, InputError, Pipeline
from overpaint.cli import main
from overpaint.serving.adapters import lend
from overpaint.serving.app import create_app
from overpaint.serving.comfy.folders import Folders
from overpaint.serving.comfy.runner import equipped
from overpaint.serving.service import Service
from overpaint.serving.settings import Settings
from overpaint.workflow.registry import standard
from tests.serving.conftest import QUICK, png, text
from tests.support.bundles import fake_bundle, fake_controlnet
from tests.support.hint_models import hint_model

Post = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two ControlNets beside one another, one of another family, and a preprocessor that is a network."""
    made = tmp_path_factory.mktemp("nets")
    fake_bundle(made / "bundle", control=True)
    for name in ("lines", "depth"):
        fake_controlnet(made / "nets" / name)
    fake_controlnet(made / "other", text_width=9)
    hint_model(made / "far.onnx")
    return made


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    names = {"controlnets": (str(folder / "nets"),), "preprocessors": (f"depth_far={folder / 'far.onnx'}",)}
    return Settings(**{**QUICK, **names})


@pytest.fixture(scope="module")
def client(folder: Path, settings: Settings) -> Iterator[TestClient]:
    model = overpaint.load(folder / "bundle", engine="fake").model
    lend({"fake": model}, settings)
    with TestClient(create_app(Service({"fake": model}, settings)), raise_server_exceptions=False) as made:
        while made.get("/readyz").status_code != 200:
            pass
        yield made


@pytest.fixture
def post(client: TestClient, file: bytes) -> Post:
    """Posts a job of two steps with these controls, and gives the answer."""

    def made(*controls: Any, **fields: Any) -> Any:
        document = {"image": text(file), "prompt": "a", "seed": 1, "steps": 4, "controls": list(controls), **fields}
        return client.post("/v1/jobs?wait=true", json=document)

    return made


@pytest.fixture
def lone(folder: Path) -> Pipeline:
    return overpaint.load(folder / "bundle", engine="fake", controlnets={"lines": folder / "nets/lines"})


def same(answer: Any, image: Image.Image) -> bool:
    assert answer.status_code == 200, answer.text
    return np.array_equal(np.asarray(Image.open(BytesIO(answer.content))), np.asarray(image))


def test_a_document_has_controls(post: Post, lone: Pipeline, file: bytes, picture: Any) -> None:
    hint = png(picture[::-1])
    answer = post({"net": "lines", "image": text(hint), "weight": 0.5, "end": 0.8, "mode": "prompt", "fit": "pad"})
    control = Control("lines", hint, 0.5, end=0.8, mode="prompt", fit="pad")
    options = {"prompt": "a", "seed": 1, "steps": 4}
    assert same(answer, lone(file, **options, controls=[control]).images[0])
    assert not same(answer, lone(file, **options).images[0])
    assert 'ControlNet 0: "Module: none, Model: lines [' in Image.open(BytesIO(answer.content)).info["parameters"]


@pytest.mark.parametrize("verb", ["inpaint", "outpaint", "upscale", "grid"])
def test_every_verb_has_them(verb: str, post: Post, mask_file: bytes) -> None:
    fields: dict[str, Any] = {
        "inpaint": {"mask": text(mask_file)},
        "outpaint": {"right": 8},
        "upscale": {"scale": 1.5},
        "grid": {"axes": {"strength": [0.4, 0.8]}},
    }[verb]
    usual = post(verb=verb, **fields)
    assert usual.status_code == 200, usual.text
    answer = post({"net": "lines", "preprocessor": "canny", "thresholds": [20, 60]}, verb=verb, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.content != usual.content


def test_a_form_has_them_as_json(client: TestClient, file: bytes) -> None:
    form = {"prompt": "a", "controls": '[{"net": "lines", "preprocessor": "canny"}]'}
    answer = client.post("/v1/jobs?wait=true", data=form, files={"image": file})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"


def test_networks_that_make_hints_have_names(post: Post, folder: Path) -> None:
    answer = post({"net": "depth", "preprocessor": "depth_far"})
    parameters = Image.open(BytesIO(answer.content)).info["parameters"]
    assert "Module: onnx:depth_far" in parameters
    assert str(folder) not in parameters


def test_what_may_be_named_is_listed(client: TestClient) -> None:
    [model] = client.get("/v1/models").json()["models"]
    assert model["controlnets"] == ["depth", "lines"]
    assert model["image_prompt_adapters"] == []
    assert "canny" in model["preprocessors"]
    assert model["preprocessors"][-1] == "depth_far"
    schema = client.get("/v1/options").json()["properties"]["controls"]
    assert "depth_far" in schema["items"]["properties"]["preprocessor"]["enum"]
    assert schema["items"]["required"] == ["net"]
    components = client.get("/openapi.json").json()["components"]["schemas"]
    assert components["inpaint"]["properties"]["controls"] == schema


@pytest.mark.parametrize(
    "net",
    ["/etc/passwd", "../nets/lines", "./lines", "lines/../depth", "~/lines", "nets\\lines", "nets/lines", "shades", "",
     3, None, ["lines"]],
)  # fmt: skip
def test_a_control_names_what_is_served(net: Any, post: Post) -> None:
    answer = post({"net": net})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"] == "controls"


@pytest.mark.parametrize("place", ["nets/lines", "other"])
def test_no_path_is_opened_even_where_it_is_right(place: str, post: Post, folder: Path) -> None:
    assert post({"net": str(folder / place)}).status_code == 400


@pytest.mark.parametrize(
    "preprocessor", ["onnx:{}/far.onnx", "onnx:depth_far", "{}/far.onnx", "onnx:../far.onnx", "depth_midas", 3]
)
def test_a_preprocessor_is_a_name(preprocessor: Any, post: Post, folder: Path) -> None:
    name = preprocessor.format(folder) if isinstance(preprocessor, str) else preprocessor
    answer = post({"net": "lines", "preprocessor": name})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "controls"


@pytest.mark.parametrize(
    "wrong",
    [3, "lines", [3], [{}], [{"net": "lines", "paper": 1}], [{"net": "lines", "image": "x"}],
     [{"net": "lines", "image": None}], [{"net": "lines", "weight": "much"}], [{"net": "lines", "weight": 9}],
     [{"net": "lines", "start": 0.9, "end": 0.1}], [{"net": "lines", "thresholds": 3}],
     [{"net": "lines", "mode": "soft"}], [{"net": "lines", "control_type": "depth"}], [{"net": "lines"}] * 9],
)  # fmt: skip
def test_what_is_no_control_is_refused(wrong: Any, client: TestClient, file: bytes) -> None:
    answer = client.post("/v1/jobs?wait=true", json={"image": text(file), "prompt": "a", "controls": wrong})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"] == "controls"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"net": "lines", "wieght": 1}, "unknown field of controls[1] 'wieght'; did you mean 'weight'?"),
        ({"image": "x"}, "controls[1] has no net; give it"),
        ({"net": "lines", "image": "%"}, "controls[1].image is neither base64 nor a data URL"),
    ],
)
def test_what_is_wrong_of_which_control_is_told(wrong: Any, said: str, post: Post) -> None:
    assert said in post({"net": "lines"}, wrong).json()["error"]["message"]


def test_no_call_has_a_huge_picture_made(post: Post) -> None:
    long = text(png(np.zeros((16, 500, 3), np.uint8)))
    answer = post({"net": "lines", "image": long, "preprocessor": "canny", "resolution": 4096})
    assert answer.status_code == 400
    assert "128000x4096, more than 8388608 pixels; choose a lower resolution" in answer.json()["error"]["message"]
    assert post({"net": "lines", "image": long, "preprocessor": "canny", "resolution": 64}).status_code == 200


def test_a_model_of_a_service_opens_no_path(folder: Path, settings: Settings, file: bytes) -> None:
    """Also of what does not come by a document, such as an infotext."""
    model = overpaint.load(folder / "bundle", engine="fake").model
    Service({"fake": model}, settings)
    pipe = Pipeline(model)
    for control in (
        Control(str(folder / "nets/lines")),
        Control("lines", preprocessor=f"onnx:{folder / 'far.onnx'}"),
        Control("lines"),
    ):
        with pytest.raises(InputError, match="unknown") as raised:
            pipe(file, "a", controls=[control])
        assert raised.value.field == "controls"


def test_an_adapter_that_fits_no_model_is_refused_at_the_start(folder: Path, fake: Pipeline) -> None:
    model = overpaint.load(folder / "bundle", engine="fake").model
    with pytest.raises(InputError, match="another family"):
        lend({"a": model}, Settings(controlnets=(str(folder / "other"),)))
    lend({"a": fake.model, "b": model}, Settings(controlnets=(f"edges={folder / 'nets/lines'}",)))
    assert model.stages.controlnets.offered.keys() == {"edges"}
    assert fake.model.stages.controlnets.offered == {}
    with pytest.raises(InputError, match="already"):
        lend({"b": model}, Settings(controlnets=(f"edges={folder / 'nets/depth'}",)))
    with pytest.raises(InputError, match="no such file"):
        lend({"b": model}, Settings(preprocessors=("far=none.onnx",)))
    with pytest.raises(InputError, match="holds 2 bundles, each called as its folder is"):
        lend({"b": model}, Settings(controlnets=(f"mine={folder / 'nets'}",)))
    with pytest.raises(InputError, match="already"):
        lend({"b": model}, Settings(preprocessors=(f"canny={folder / 'far.onnx'}",)))


def test_adapters_are_checked_with_the_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nets, far = str(folder / "nets"), str(folder / "far.onnx")
    assert main(["serve", "--controlnets", f"{nets},edges", "--preprocessors", far, "--loras", nets, "--check"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1:6] == [
        f"ControlNet depth: {nets}/depth",
        f"ControlNet lines: {nets}/lines",
        "ControlNet edges: edges",
        f"preprocessor far: {far}",
        f"LoRAs: {nets}",
    ]
    for wrong in (
        ["--controlnets", str(folder / "bundle")],
        ["--image-prompt-adapters", "x"],
        ["--preprocessors", "x"],
        ["--loras", "x"],
    ):
        assert main(["serve", *wrong, "--check"]) in (1, 2)
        assert capsys.readouterr().err


def test_workflows_of_the_server_have_the_same_names(folder: Path, settings: Settings, tmp_path: Path) -> None:
    model = overpaint.load(folder / "bundle", engine="fake").model
    lend({"fake": model}, settings)
    bench, _ = equipped(Service({"fake": model}, settings), standard())(Folders(tmp_path))
    assert {"depth", "edges", "lines"} <= set(bench.controlnets)
    assert bench.controlnet("lines") is model.stages.controlnets.get("lines")
