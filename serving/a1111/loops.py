"""A1111's "Loopback": each picture begins with the one before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ...errors import InputError
from ...runtime.denoising.loop import Step
from ...runtime.execution.run import Run
from ...runtime.imaging.picture import Picture
from ...runtime.imaging.picture import read as read_picture
from ...runtime.model.model import Model
from ...runtime.model.upscaler import Upscaler
from ...runtime.requests.expand import expand
from ...runtime.requests.request import Request
from ...runtime.requests.result import Output, Result
from ...runtime.tools.inpaint import Inpaint
from ..made import Made, MadePicture
from ..orders import Order, Tool


class Work(Protocol):
    """A run or a tool: iterate, then ask for its result."""

    evaluations: int

    def __iter__(self) -> Iterator[Step]:
        """Do the work."""
        ...

    def result(self) -> Result:
        """What came of it."""
        ...


class Loopback:
    """Each picture begins with the one before, with the next seed and a strength of its own, as A1111's script does.

    `begin` gives the work on a picture with a strength and a seed. `count` chains begin with the same picture.
    """

    def __init__(
        self, begin: Callable[[Any, float, int], Work], image: Any, strengths: Sequence[float], seed: int, count: int
    ) -> None:
        self._begin, self._image, self._strengths = begin, image, tuple(strengths)
        self._seed, self._count = seed, count
        self.evaluations = count * sum(begin(image, strength, seed).evaluations for strength in self._strengths)
        self._outputs: list[Output] = []

    def __iter__(self) -> Generator[Step]:
        """Do the work."""
        seed = self._seed
        for _ in range(self._count):
            image = self._image
            for strength in self._strengths:
                work = self._begin(image, strength, seed)
                yield from work
                output = work.result().outputs[0]
                # A record holds one run, and would not make the picture again.
                self._outputs.append(replace(output, recorder=None))
                image, seed = read_picture(output.image), seed + 1

    def made(self) -> Made:
        """The pictures of all loops so far."""
        return Made(tuple(map(MadePicture.of, self._outputs)), {}, {})


def one(order: Order) -> Picture:
    """The picture of an order; raises `InputError` for several."""
    picture = order.images[0]
    if len(order.images) > 1:
        raise InputError("init_images: a script takes one; send a call for each", "init_images")
    assert isinstance(picture, Picture)
    return picture


def requests_of(order: Order, model: Model) -> list[Request]:
    """The requests of an img2img."""
    options = dict(order.options)
    seed, n, negative = options.pop("seed"), options.pop("n"), options.pop("negative_prompt")
    pictures = [model.read(image) for image in order.images]
    return expand(pictures, [str(order.prompt)], [negative], seed, n, options)


def loops(order: Order, model: Model, upscaler: Upscaler | None, strengths: tuple[float, ...], count: int) -> Tool:
    """The loops of an order as work."""
    options = {**order.options, "n": 1}
    seed = options.pop("seed")

    def begin(image: Picture, strength: float, seed: int) -> Any:
        own = {**options, "strength": strength}
        if order.verb == "inpaint":
            del own["n"]
            return Inpaint(model, image, list(order.masks), str(order.prompt), seed=seed, **own)
        return Run(
            model, requests_of(replace(order, images=(image,), options={**own, "seed": seed}), model), paced=False
        )

    work = Loopback(begin, order.images[0], strengths, seed, count)
    return Tool(work, work.made, work.made)
