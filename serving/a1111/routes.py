"""The routes of A1111's interface."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import CancelledError, RefusedError
from ...runtime.model.model import Model
from ..api import CLIENT_GONE
from ..bodies import read_document
from ..documents import Document
from ..fetch import fetch_pictures
from ..follow import outcome
from ..jobs import Job
from ..made import Made
from ..orders import NOTHING
from ..service import Service
from . import controlnet, lists, scripts
from .answers import answer
from .extras import enhanced, png_info
from .fields import EXTRAS, IMG2IMG, PICTURES, TXT2IMG, read_call
from .options import Reading
from .orders import Translator
from .preferences import Preferences
from .tasks import Task, Tasks, internal_progress, progress_of

BASE = "/sdapi/v1"
PREFIXES = ("/sdapi/", "/internal/", "/controlnet/")
"""How the interface's paths begin."""
_TABLES = {"img2img": IMG2IMG, "txt2img": TXT2IMG}

Answer = Callable[[Request], Awaitable[Any]]


def a1111(service: Service) -> Sequence[BaseRoute]:
    """A1111's interface on a service."""
    return Dialect(service).routes()


class Dialect:
    """A1111's calls, with each caller's options and calls under way."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._preferences = Preferences(service)
        self._tasks = Tasks()

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        posts: dict[str, Answer] = {
            "img2img": self.paint,
            "txt2img": self.paint,
            "extra-single-image": self.extra_single,
            "extra-batch-images": self.extra_batch,
            "png-info": self.png_info,
            "interrogate": self.interrogate,
            "interrupt": self.interrupt,
            "skip": self.skip,
            "options": self.set_options,
            "unload-checkpoint": _of({}),
            "reload-checkpoint": _of({}),
            **{f"refresh-{what}": _of(None) for what in ("checkpoints", "vae", "embeddings")},
            "refresh-loras": _called(self._refresh_loras),
        }
        gets: dict[str, Answer] = {
            "progress": self.progress,
            "options": self.options,
            "cmd-flags": _called(lambda: lists.flags(self._service)),
            "samplers": _called(lists.samplers),
            "schedulers": _called(lists.schedulers),
            "upscalers": _called(lambda: lists.upscalers(self._service)),
            "sd-models": _called(lambda: lists.models(self._service)),
            "embeddings": self.embeddings,
            "loras": self.loras,
            "memory": _called(lists.memory),
            "scripts": _called(scripts.listed),
            "script-info": _called(scripts.described),
            **{name: _of([]) for name in _EMPTY},
        }
        return (
            *(_route(f"{BASE}/{name}", "POST", each) for name, each in posts.items()),
            *(_route(f"{BASE}/{name}", "GET", each) for name, each in gets.items()),
            *self._controlnet(),
            _route("/internal/progress", "POST", self.internal_progress),
            _route("/internal/pending-tasks", "GET", self.pending),
            _route("/internal/ping", "GET", _of({})),
        )

    def _controlnet(self) -> Sequence[BaseRoute]:
        """The routes of its extension for ControlNets."""
        gets: dict[str, Answer] = {
            "version": _of({"version": controlnet.VERSION}),
            "settings": _called(controlnet.settings),
            "module_list": _called(lambda: controlnet.module_list(self._service)),
            "model_list": self.control_models,
            "control_types": self.control_types,
        }
        return (
            *(_route(f"/controlnet/{name}", "GET", each) for name, each in gets.items()),
            _route("/controlnet/detect", "POST", self.detect),
        )

    async def control_models(self, request: Request) -> Any:
        """The ControlNets and image-prompt adapters of the caller's model."""
        return await asyncio.to_thread(controlnet.model_list, self._model(request))

    async def control_types(self, request: Request) -> Any:
        """Modules and models by what they are for."""
        return await asyncio.to_thread(controlnet.control_types, self._service, self._model(request))

    async def detect(self, request: Request) -> Any:
        """What a module makes of pictures: the hints that ControlNets follow."""
        with self._service.place(request.state.owner):
            return await asyncio.to_thread(controlnet.detect, self._service, await self._document(request))

    async def paint(self, request: Request) -> Any:
        """Img2img or txt2img, as the address says."""
        service, owner, tab = self._service, request.state.owner, request.url.path.rsplit("/", 1)[-1]
        with service.place(owner) as place:
            document = await self._document(request)
            call = read_call(document, _TABLES[tab])
            preferences = self._preferences.of(caller(request))
            overrides, unknown = self._preferences.checked(call["override_settings"])
            reading = Reading(call, {**preferences, **overrides}, unknown)
            if overrides and not call["override_settings_restore_afterwards"]:
                self._preferences.change(caller(request), overrides)
            task = self._tasks.begin(tab, owner, caller(request), call["force_task_id"], call["n_iter"], call["steps"])
            try:
                return await self._painted(request, Translator(service, reading, tab), task, place)
            finally:
                self._tasks.end(owner, task)

    async def _painted(self, request: Request, translator: Translator, task: Task, place: Any) -> Response:
        service, maps = self._service, list[Image.Image]()

        def submitted() -> Job:
            order = translator.order()
            maps.extend(translator.maps(order))
            return service.submit(order, owner=request.state.owner, place=place, request=request.state.request_id)

        job = await asyncio.to_thread(submitted)
        task.follow(job)
        made = await self._outcome(request, job, task)
        if made is None:
            return Response(status_code=CLIENT_GONE)
        body = await asyncio.to_thread(answer, service, translator.reading, job, made, maps)
        job.collected = True
        return Response(body, media_type="application/json")

    async def _outcome(self, request: Request, job: Job, task: Task) -> Made | None:
        """What came of a job; nothing where it was interrupted before it had anything."""
        try:
            return await outcome(job, request, self._service.settings.on_disconnect)
        except CancelledError:
            if task.interrupted:
                return NOTHING
            raise

    async def extra_single(self, request: Request) -> Any:
        """A picture enlarged."""
        with self._service.place(request.state.owner):
            call = read_call(await self._document(request), EXTRAS)
            image, text = await asyncio.to_thread(enhanced, self._service, call, call["image"])
            return {"html_info": text, "image": image}

    async def extra_batch(self, request: Request) -> Any:
        """Several of them."""
        with self._service.place(request.state.owner):
            call = read_call(await self._document(request), EXTRAS)
            listed, most = call["imageList"], self._service.settings.max_images
            if not listed or len(listed) > most or not all(isinstance(each, dict) for each in listed):
                raise RefusedError(f"imageList has 1 to {most} objects with data and name", 422, "invalid_input")
            made = [await asyncio.to_thread(enhanced, self._service, call, each.get("data")) for each in listed]
            return {"html_info": "".join(text for _, text in made), "images": [image for image, _ in made]}

    async def png_info(self, request: Request) -> Any:
        """How a picture was made."""
        document = await self._document(request)
        return await asyncio.to_thread(png_info, document.get("image"), self._service.settings.max_pixels)

    async def interrogate(self, request: Request) -> Any:
        """Nothing describes pictures here."""
        raise RefusedError("interrogate is not served: no model here describes pictures", 404, "not_found")

    async def progress(self, request: Request) -> Any:
        """How the caller's call goes, of ?id_task= where it has one."""
        task = self._task(request)
        with_image = request.query_params.get("skip_current_image", "false").lower() not in ("true", "1")
        return await asyncio.to_thread(progress_of, task, with_image)

    async def internal_progress(self, request: Request) -> Any:
        """The same as A1111's page reads it."""
        document = await self._document(request)
        id, seen = str(document.get("id_task") or ""), document.get("id_live_preview", -1)
        owner = request.state.owner
        task, ended = (self._tasks.find(owner, "", id), self._tasks.ended(owner, id)) if id else (None, False)
        shown = seen if isinstance(seen, int) else -1
        return await asyncio.to_thread(
            internal_progress, task, ended, shown, document.get("live_preview", True) is not False
        )

    async def pending(self, request: Request) -> Any:
        """The caller's calls under way."""
        tasks = self._tasks.of(caller(request))
        return {"size": len(tasks), "tasks": tasks}

    async def interrupt(self, request: Request) -> Any:
        """End the caller's call with the pictures that are finished."""
        await self._interrupt(request)
        return {}

    async def skip(self, request: Request) -> Any:
        """The same: all pictures of a call are under way together."""
        await self._interrupt(request)

    async def _interrupt(self, request: Request) -> None:
        task = self._task(request)
        if task is not None:
            await asyncio.to_thread(task.interrupt)

    async def options(self, request: Request) -> Any:
        """The caller's options."""
        return self._preferences.shown(caller(request))

    async def set_options(self, request: Request) -> Any:
        """Change some of them."""
        self._preferences.change(caller(request), await self._document(request))

    async def embeddings(self, request: Request) -> Any:
        """The textual inversions of the caller's model."""
        return lists.embeddings(self._model(request))

    async def loras(self, request: Request) -> Any:
        """The LoRAs of the caller's model."""
        return lists.loras(self._model(request))

    def _model(self, request: Request) -> Model:
        """The caller's model."""
        return self._service.model(self._preferences.of(caller(request))["sd_model_checkpoint"])

    def _refresh_loras(self) -> None:
        """Look for LoRAs in the folders again."""
        for model in self._service.models.values():
            model.loras.refresh()

    async def _document(self, request: Request) -> Document:
        settings = self._service.settings
        return await fetch_pictures(await read_document(request, settings), settings, PICTURES)

    def _task(self, request: Request) -> Task | None:
        id = request.query_params.get("id_task")
        return self._tasks.find(request.state.owner, caller(request), id)


_EMPTY = (
    "sd-vae",
    "latent-upscale-modes",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "prompt-styles",
    "extensions",
)
"""Lists of what there is none of here."""


def caller(request: Request) -> str:
    """Who calls: a key's hash, else the address that the call comes from."""
    host = request.client.host if request.client else ""
    return request.state.owner or f"at {host}"


def _route(path: str, method: str, answer: Answer) -> Route:
    """A route whose answer is JSON."""

    async def endpoint(request: Request) -> Response:
        made = await answer(request)
        return made if isinstance(made, Response) else JSONResponse(made)

    endpoint.__doc__ = answer.__doc__
    return Route(path, endpoint, methods=[method], name=f"{path.rsplit('/', 1)[-1]}, as A1111 has it")


def _of(value: Any) -> Answer:
    return _called(lambda: value)


def _called(make: Callable[[], Any]) -> Answer:
    async def answer(request: Request) -> Any:
        return make()

    return answer
