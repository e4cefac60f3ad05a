"""Calls of the verbs as a type checker sees them: mypy reads this file, nothing runs it.

A wrong call is marked as ignored; were it not seen as wrong, mypy would complain of the unused mark.
"""

from typing import Any

import overpaint
from overpaint import Pipeline, RunSnapshot


def right(pipe: Pipeline, snapshot: RunSnapshot) -> None:
    pipe("fox.png", "fox", strength=0.4, steps=20, seed=7, n=2, on_step=print, timeout=9.5)
    pipe(["fox.png", "cat.png"], ["fox", "cat"], seed=[1, 2], num_inference_steps=5, negative_prompt=["", "dog"])
    pipe("fox.png", **overpaint.preset("style").options)
    pipe("fox.png", **overpaint.from_infotext("fox.png").options)
    pipe.inpaint("fox.png", "mask.png", "owl", levels="soft", blur=(4.0, 2.0), steps=None)
    pipe.outpaint("fox.png", "forest", right=64, colour=(1, 2, 3))
    pipe.upscale("fox.png", "fox", scale=3, method="tiles", seam_fix="bands")
    pipe.start("fox.png", "fox", passes=(0.5, 0.3), timeout=3).cancel()
    pipe.resume(snapshot, prompt="cat", guidance_scale=3.0)
    pipe.grid("fox.png", "fox", {"strength": [0.3, 0.5]}, steps=4, seed=1, font="font.ttf")
    pipe.warm_up([(64, 64)], n=2, guidance_scale=1.0)


def served(model: overpaint.Model, request: overpaint.Request) -> overpaint.Ticket[overpaint.Output]:
    return model.submit(request, priority=1)


def wrong(pipe: Pipeline, snapshot: RunSnapshot, anything: Any) -> None:
    pipe("fox.png", strenght=0.4)  # type: ignore[call-arg]
    pipe("fox.png", steps="20")  # type: ignore[arg-type]
    pipe.inpaint("fox.png", "mask.png", left=8)  # type: ignore[call-arg]
    pipe.outpaint("fox.png", right="8")  # type: ignore[arg-type]
    pipe.upscale("fox.png", size=(64, 64))  # type: ignore[call-arg]
    pipe.start("fox.png", on_step=anything)  # type: ignore[call-arg]
    pipe.resume(snapshot, timeout="never")  # type: ignore[arg-type]
    pipe.grid("fox.png", "fox", {}, n=2)  # type: ignore[call-arg]
    pipe.warm_up([(64, 64)], nonsense=2)  # type: ignore[call-arg]
