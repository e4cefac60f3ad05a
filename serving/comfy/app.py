"""The application of ComfyUI's interface, on the models of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount

from ...errors import OverpaintError
from ...workflow.node import Nodes
from ...workflow.registry import standard
from ..app import failed, guarded, no_route
from ..service import Service
from .catalog import Catalog
from .desks import Desks, Equip
from .errors import error_document
from .frontend import Page, page_folder, page_version
from .jobs import Jobs
from .pictures import Pictures
from .prompts import Prompts
from .runner import equipped
from .templates import Templates
from .userdata import Userdata

SHAPES = {"/": error_document}
BASIC = ("/",)
"""Where a browser asks for a key: the page knows of none."""


class ComfyApp(Starlette):
    """The application; its lifespan cancels in the end what is open."""

    def __init__(self, service: Service, nodes: Nodes | None = None, equip: Equip | None = None) -> None:
        """`nodes` are those that workflows may have, all that ship where none are named.

        Raises `InputError` where the page or the folder of its files is not there.
        """
        settings = service.settings
        nodes = nodes or standard()
        self.desks = Desks(service, equip or equipped(service, nodes))
        page: list[BaseRoute] = []
        if settings.comfy_frontend:
            page = [Mount("/", Page(page_folder(settings.comfy_frontend)))]
        routes = [
            *Prompts(self.desks, nodes).routes(),
            *Jobs(self.desks).routes(),
            *Pictures(self.desks, settings).routes(),
            *Catalog(self.desks, nodes, page_version(settings.comfy_frontend)).routes(),
            *Userdata(self.desks).routes(),
            *Templates(self.desks, nodes).routes(),
            *page,
        ]
        handlers: dict[Any, Any] = {OverpaintError: failed, HTTPException: no_route, Exception: failed}
        middleware = guarded(settings, SHAPES, basic=BASIC)
        super().__init__(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=_lifespan)

    @property
    def busy(self) -> bool:
        """Whether workflows wait or run."""
        return bool(len(self.desks))


@asynccontextmanager
async def _lifespan(app: ComfyApp) -> AsyncIterator[None]:
    import asyncio

    yield
    await asyncio.to_thread(app.desks.close)
