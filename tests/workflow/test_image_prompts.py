"""Image prompts of workflows as inputs of rows."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from overpaint.runtime.imaging.picture import Picture
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.workflow.image_prompts import ImageRows
from overpaint.workflow.nodes.image_prompts import ip_adapter_advanced
from overpaint.workflow.values import Diffusion

PICTURES = np.stack([np.full((8, 8, 3), level, np.float32) for level in (0.2, 0.8)])


class Adapter:
    """Keys and values are the first level of the picture; 7 stands for no picture."""

    layers = (3,)

    def check(self, base: Any) -> None:
        pass

    def keys_and_values(self, pictures: tuple[tuple[Picture | None, float], ...]) -> Any:
        [(picture, _)] = pictures
        level = 7.0 if picture is None else float(picture.pixels[0, 0, 0])
        return np.full((2, 3), level, np.float32), np.full((2, 3), level, np.float32)


def test_pictures_stand_side_by_side_and_count_in_their_time() -> None:
    denoiser = SimpleNamespace(engine=SimpleNamespace(device="cpu"), adapters={"image": ("keys", "values")})
    model: Any = SimpleNamespace(
        schedule=ModelSchedule(), bundle=None, stages=SimpleNamespace(denoiser=denoiser),
        lane=SimpleNamespace(exclusive=nullcontext),
    )  # fmt: skip
    context: Any = None
    steered = ip_adapter_advanced.function(
        context, Diffusion(model), Adapter(), PICTURES, 0.5, "linear", "concat", 0.0, 0.5, "V only"
    )
    rows = ImageRows(steered)
    made = rows.at(10.0, negative=False)
    assert made["keys"][:, 0].tolist() == [51, 51, 204, 204]
    assert made["values"][:, 0].tolist() == [25.5, 25.5, 102, 102]
    assert rows.at(10.0, negative=True)["keys"][:, 0].tolist() == [7, 7, 7, 7]
    assert rows.at(0.5, negative=False) == {}
