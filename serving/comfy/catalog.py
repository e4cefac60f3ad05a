"""What there is: nodes, models, features, the system."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import RefusedError
from ...version import __version__
from ...workflow.node import Nodes
from .desks import Desks
from .folders import KINDS
from .listed import FOLDERS, listed
from .routing import both
from .sockets import FEATURES

VERSION = "0.3.64"
"""The version of ComfyUI whose interface this is."""


class Catalog:
    """The routes on what there is."""

    def __init__(self, desks: Desks, nodes: Nodes, page_version: str = "") -> None:
        """`page_version` is that of ComfyUI's page, where it is served."""
        self._desks, self._nodes, self._page_version = desks, nodes, page_version

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return [
            *both("/object_info", self.nodes),
            *both("/object_info/{name}", self.nodes),
            *both("/system_stats", self.system),
            *both("/features", self.features),
            *both("/models", self.folders),
            *both("/models/{folder}", self.models),
            *both("/experiment/models", self.folders_with_paths),
            *both("/experiment/models/{folder}", self.models_with_paths),
            *both("/view_metadata/{folder}", self.metadata),
            *both("/embeddings", self.embeddings),
            *both("/extensions", self.nothing),
            *both("/i18n", self.no_names),
            *both("/global_subgraphs", self.no_names),
            *both("/workflow_templates", self.no_names),
            *both("/node_replacements", self.no_names),
            *both("/user.css", self.style),
            *both("/userdata/user.css", self.style),
            Route("/internal/logs", self.nothing),
            Route("/internal/logs/raw", self.logs),
            Route("/internal/logs/subscribe", self.no_names, methods=["PATCH"]),
            Route("/internal/folder_paths", self.folder_paths),
            Route("/internal/files/{kind}", self.files),
        ]

    async def nodes(self, request: Request) -> Response:
        """All classes of nodes, or one."""
        bench, name = self._desks.of(request).bench, request.path_params.get("name", "")
        return JSONResponse(await asyncio.to_thread(self._nodes.info, bench, name))

    async def features(self, request: Request) -> Response:
        """What the server can."""
        return JSONResponse({**FEATURES, "max_upload_size": self._desks.service.settings.max_body})

    async def system(self, request: Request) -> Response:
        """The machine, in ComfyUI's fields."""
        total, free = _memory()
        system = {
            "os": sys.platform,
            "ram_total": total,
            "ram_free": free,
            "comfyui_version": VERSION,
            "required_frontend_version": self._page_version or None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "python_version": sys.version,
            "pytorch_version": f"none: overpaint {__version__}",
            "embedded_python": False,
            # The page then asks no other server for the news and for nodes that cost money.
            "argv": ["overpaint", "serve", "--disable-api-nodes"],
        }
        return JSONResponse({"system": system, "devices": self._devices(total, free)})

    async def folders(self, request: Request) -> Response:
        """The kinds of models."""
        return JSONResponse(list(FOLDERS))

    async def models(self, request: Request) -> Response:
        """The models of a kind."""
        return JSONResponse(self._listed(request))

    async def folders_with_paths(self, request: Request) -> Response:
        """The kinds of models; that they lie in folders is ComfyUI's."""
        return JSONResponse([{"name": name, "folders": [name]} for name in FOLDERS])

    async def models_with_paths(self, request: Request) -> Response:
        """The models of a kind, as files."""
        about = {"pathIndex": 0, "modified": 0, "created": 0, "size": 0}
        return JSONResponse([{"name": name, **about} for name in self._listed(request)])

    async def metadata(self, request: Request) -> Response:
        """What a file says of itself: bundles have no such file."""
        raise RefusedError("bundles have no metadata of this kind; see /v1/models", 404, "not_found")

    async def embeddings(self, request: Request) -> Response:
        """The textual inversions."""
        return JSONResponse([Path(each).stem for each in self._desks.service.settings.embeddings])

    async def style(self, request: Request) -> Response:
        """The user's style sheet, as far as there is one."""
        path = self._desks.of(request).folders.user / "user.css"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return Response(text, media_type="text/css")

    async def nothing(self, request: Request) -> Response:
        """A list of nothing."""
        return JSONResponse([])

    async def no_names(self, request: Request) -> Response:
        """An object of nothing."""
        return JSONResponse({})

    async def logs(self, request: Request) -> Response:
        """No logs: they are the operator's."""
        return JSONResponse({"entries": [], "size": {"cols": 80, "rows": 24}})

    async def folder_paths(self, request: Request) -> Response:
        """The kinds of models, whose places are the operator's."""
        return JSONResponse({name: [] for name in FOLDERS})

    async def files(self, request: Request) -> Response:
        """The pictures of a folder."""
        kind = request.path_params["kind"]
        if kind not in KINDS:
            raise RefusedError(f"type is {kind[:32]!r}; give {', '.join(KINDS)}", 400, "invalid_input")
        names = self._desks.of(request).folders.listed(kind)
        return JSONResponse([f"{name} [{kind}]" for name in names])

    def _listed(self, request: Request) -> list[str]:
        folder = request.path_params["folder"]
        if folder not in FOLDERS:
            raise RefusedError(f"there is no folder {folder[:64]!r}; see /models", 404, "not_found")
        return listed(folder, self._desks.service, self._nodes, self._desks.of(request).bench)

    def _devices(self, total: int, free: int) -> list[Mapping[str, Any]]:
        model = next(iter(self._desks.service.models.values()))
        shown = {"vram_total": total, "vram_free": free, "torch_vram_total": 0, "torch_vram_free": 0}
        kind = "cuda" if model.stages.denoiser.engine.device == "cuda" else "cpu"
        return [{"name": ", ".join(sorted(set(model.labels.values()))), "type": kind, "index": 0, **shown}]


def _memory() -> tuple[int, int]:
    """The machine's memory in bytes, and what of it is free."""
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
