"""What each picture of a batch has of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from overpaint import Control, ImagePrompt, InputError
from overpaint.runtime.imaging.picture import read
from overpaint.runtime.requests.image_prompts import ImagePrompt as Prompt
from overpaint.runtime.tools.batch import Settings
from overpaint.runtime.tools.per_picture import PerPicture, as_json, per_picture, resolved


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files a.png, b.jpg, c of two kinds, and deep/a.png, each of a level of its own."""
    (tmp_path / "deep").mkdir()
    for level, name in enumerate(("a.png", "b.jpg", "c.jpg", "c.webp", "deep/a.png")):
        Image.new("RGB", (8, 8), (40 * level,) * 3).save(tmp_path / name)
    return tmp_path


def test_each_picture_has_the_file_of_its_name(folder: Path) -> None:
    own = PerPicture(folder, Control, {"net": "edges", "weight": 0.5})
    for place, level in {"a.png": 0, "a.jpg": 0, "b.png": 40, "c.webp": 120, "deep/a.webp": 160}.items():
        made = own.of(Path(place))
        assert isinstance(made, Control)
        assert made.image is not None
        assert (made.net, made.weight) == ("edges", 0.5)
        assert abs(int(made.image.pixels[0, 0, 0]) - level) < 3
    assert own.content(Path("a.jpg")) == own.content(Path("a.png")) != own.content(Path("deep/a.png"))
    for place, cause in {"d.png": "has no picture d", "c.png": r"has c\.jpg and c\.webp"}.items():
        with pytest.raises(InputError, match=cause):
            own.of(Path(place))


def test_options_keep_their_order(folder: Path) -> None:
    fixed = Control("depth", np.zeros((8, 8, 3), np.uint8))
    options: dict[str, Any] = {
        "controls": [PerPicture(folder, Control, {"net": "edges"}), fixed],
        "image_prompts": [PerPicture(folder, ImagePrompt, {"weight": 0.5})],
        "steps": 4,
    }
    made = resolved(options, Path("b.png"))
    assert [each.net for each in made["controls"]] == ["edges", "depth"]
    assert (made["image_prompts"][0].weight, made["steps"]) == (0.5, 4)
    assert resolved(options, None) == {**options, "controls": (fixed,), "image_prompts": ()}
    assert len(per_picture(options)) == 2
    assert as_json(options)["controls"][0] == ["Control", {"net": "edges"}]


def test_what_no_picture_could_have_is_known_at_once(folder: Path) -> None:
    with pytest.raises(InputError, match="from 0 to 2"):
        PerPicture(folder, Control, {"net": "edges", "weight": 3})
    with pytest.raises(InputError, match="from 0"):
        PerPicture(folder, Prompt, {"weight": -1})


def test_places_are_counted_from_the_batchs_folder(folder: Path) -> None:
    settings = Settings("a", {"controls": [PerPicture(folder, Control, {"net": "edges"})]}, folder=Path("in"))
    picture = read(np.zeros((8, 8, 3), np.uint8))
    [deep] = settings.requests(picture, "a", Path("in/deep/a.png"))
    [flat] = settings.requests(picture, "a", Path("elsewhere/a.png"))
    assert [int(each.controls[0].image.pixels[0, 0, 0]) for each in (deep, flat)] == [160, 0]  # type: ignore[union-attr]
    assert settings.requests(picture, "a")[0].controls == ()
    assert len(settings.own(Path("in/a.png"))) == 1
