"""What a client asks for, and the verbs that do it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import InputError, unknown
from ..runtime.imaging.mask import Mask
from ..runtime.imaging.picture import Picture
from ..runtime.model.model import Model
from ..runtime.model.stats import total
from ..runtime.model.tickets import DONE, Ticket, Unread
from ..runtime.model.upscaler import Upscaler
from ..runtime.requests import checks
from ..runtime.requests.expand import expand
from ..runtime.requests.request import Request
from ..runtime.requests.result import Output, Result
from ..runtime.tools.grid import GridRun
from ..runtime.tools.inpaint import Inpaint
from ..runtime.tools.outpaint import Outpaint
from ..runtime.tools.upscale import Upscale
from .made import Made, MadePicture

MAX_EVALUATIONS = 20_000
VERBS = ("img2img", "inpaint", "outpaint", "upscale", "grid")

Ended = Callable[[Made | None, BaseException | None], object]
NOTHING = Made((), {}, {})


@dataclass(frozen=True)
class Order:
    """A verb and its arguments, read and checked as far as they can be without the model.

    `images` are the bytes of files or `Picture`s; `masks`, `axes`, `cell` and `upscaler`, a name, are of the verbs that
    have them; `options` the others by name. `timeout` is in seconds from the arrival on. Orders of one `fingerprint`
    ask for the same, and with `share` are worked on once. `kind`, `quality` and `strip` say how pictures are written.
    `work` makes the work instead of the verb: a dialect's script that is no verb of its own.
    """

    verb: str
    model: str
    images: tuple[bytes | Picture, ...]
    prompt: str | tuple[str, ...] = ""
    masks: tuple[bytes | Mask, ...] = ()
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    cell: int = 256
    upscaler: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    priority: int = 0
    share: bool = False
    kind: str = "png"
    quality: int = 95
    strip: bool = False
    fingerprint: str = ""
    work: Callable[[Order, Model, Upscaler | None], Tool] | None = None

    def forgotten(self) -> Order:
        """The order without its pictures, for a job that has ended."""
        return replace(self, images=(), masks=(), axes={}, options={}, work=None)


class Batch:
    """Requests as tickets of their own, which no thread waits for."""

    def __init__(self, model: Model, requests: Sequence[Request]) -> None:
        self._model = model
        prepared = [model.prepare(request) for request in requests]
        self.evaluations = sum(len(each.plan) for each in prepared)
        works = [model.painting(each, together=len(prepared)) for each in prepared]
        self._tickets = [Ticket(work, image=index, events=Unread()) for index, work in enumerate(works)]
        self._left = len(self._tickets)
        self._lock = threading.Lock()

    def start(self, ended: Ended) -> None:
        """Put the tickets in line; `ended` gets what came of all, or the first error, which cancels the others."""
        for ticket in self._tickets:
            self._model.lane.add(ticket)
        for ticket in self._tickets:  # once all are in line: one that fails at once cancels the others
            ticket.future.add_done_callback(lambda _, ticket=ticket: self._one_ended(ticket, ended))  # type: ignore[misc]

    def so_far(self) -> Made:
        """The pictures that are finished."""
        outputs = [ticket.future.result() for ticket in self._tickets if ticket.status == DONE]
        return Made(tuple(map(MadePicture.of, outputs)), {}, {})

    def _one_ended(self, ticket: Ticket[Output], ended: Ended) -> None:
        if (error := ticket.error) is not None:
            for other in self._tickets:
                other.cancel()
            ended(None, error)
            return
        with self._lock:
            self._left -= 1
            left = self._left
        if not left:
            ended(*self._outcome())

    def _outcome(self) -> tuple[Made | None, BaseException | None]:
        try:
            stats = total(ticket.work.stats for ticket in self._tickets)
            outputs = tuple(ticket.future.result() for ticket in self._tickets)
            return Made.of(Result(outputs, dict(stats.timings), dict(stats.cached), self._model.labels)), None
        except Exception as exc:  # noqa: BLE001 - a job has to end
            return None, exc


class Tool:
    """A tool, which a thread iterates over; `so_far` gives the pictures that are finished before its end."""

    def __init__(self, steps: Any, made: Callable[[], Made], so_far: Callable[[], Made] = lambda: NOTHING) -> None:
        self._steps, self._made = steps, made
        self.evaluations: int = steps.evaluations
        self.so_far = so_far

    def run(self) -> Made:
        """Do the work."""
        for _ in self._steps:  # the job hears of them by its tickets
            pass
        return self._made()


def prepare(order: Order, model: Model, upscaler: Upscaler | None = None) -> Batch | Tool:
    """An order as work on a model; raises `InputError` where the model cannot do it.

    `upscaler` makes the first enlargement of an upscale.
    """
    work: Batch | Tool
    match order.verb:
        case _ if order.work is not None:
            work = order.work(order, model, upscaler)
        case "img2img":
            work = _img2img(order, model)
        case "inpaint":
            work = _inpaint(order, model)
        case "outpaint":
            work = _outpaint(order, model)
        case "upscale":
            work = _upscale(order, model, upscaler)
        case "grid":
            work = _grid(order, model)
        case other:
            raise unknown("verb", other, VERBS, "verb")
    if work.evaluations > MAX_EVALUATIONS:
        raise InputError(
            f"this takes {work.evaluations} evaluations of the model, and a job may take {MAX_EVALUATIONS}; ask for "
            "fewer images or steps",
            "n",
        )
    return work


def _img2img(order: Order, model: Model) -> Batch:
    options = dict(order.options)
    seed, n = options.pop("seed", None), options.pop("n", 1)
    negative = options.pop("negative_prompt", None) or ""
    pictures = [_read(image, order, model) for image in order.images]
    return Batch(model, expand(pictures, _listed(order.prompt), _listed(negative), seed, n, options))


def _inpaint(order: Order, model: Model) -> Tool:
    masks, prompt = list(order.masks), order.prompt if isinstance(order.prompt, str) else list(order.prompt)
    work = Inpaint(model, _one(order, model), masks, prompt, **_given(order))
    return Tool(work, lambda: Made.of(work.result()))


def _outpaint(order: Order, model: Model) -> Tool:
    work = Outpaint(model, _one(order, model), _text(order), **_given(order))
    return Tool(work, lambda: Made.of(work.result()))


def _upscale(order: Order, model: Model, upscaler: Upscaler | None) -> Tool:
    work = Upscale(model, _one(order, model), _text(order), upscaler=upscaler, **_given(order))
    width, height = work.size
    if width * height > model.max_pixels:
        raise InputError(
            f"the result would be {width}x{height}, more than {model.max_pixels} pixels; choose a smaller scale",
            "scale",
        )
    return Tool(work, lambda: Made.of(work.result()))


def _grid(order: Order, model: Model) -> Tool:
    options = dict(order.options)
    work = GridRun(model, _one(order, model), _text(order), order.axes, options, cell=order.cell)

    def made() -> Made:
        sheet = work.sheet()
        seed = work.requests[0].seed
        return Made((MadePicture(sheet, work.parameters, seed, tuple(sheet.info["notes"])),), {}, {})

    return Tool(work, made)


def _given(order: Order) -> dict[str, Any]:
    return {name: value for name, value in order.options.items() if value is not None}


def _read(image: bytes | Picture, order: Order, model: Model) -> Picture:
    scaled = order.verb in ("img2img", "grid") and order.options.get("size") is not None
    with checks.of("image"):
        return model.read(image, reduce=scaled)


def _one(order: Order, model: Model) -> Picture:
    if len(order.images) != 1:
        raise InputError(f"{order.verb} takes one picture, not {len(order.images)}; send a job for each", "image")
    return _read(order.images[0], order, model)


def _text(order: Order) -> str:
    if not isinstance(order.prompt, str):
        raise InputError(f"{order.verb} takes one prompt; send a job for each", "prompt")
    return order.prompt


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
