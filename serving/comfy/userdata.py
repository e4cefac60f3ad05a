"""What the page keeps: its settings, and files such as saved workflows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from ...errors import InputError, RefusedError
from .desks import Desks
from .folders import within
from .routing import both, empty

SETTINGS = "comfy.settings.json"
FIRST_SETTINGS = {"Comfy.Notification.ShowVersionUpdates": False}


class Userdata:
    """The routes of settings and userdata."""

    def __init__(self, desks: Desks) -> None:
        self._desks = desks
        self._lock = threading.Lock()

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return [
            *both("/users", self.users),
            *both("/settings", self.settings),
            *both("/settings", self.change_settings, "POST"),
            *both("/settings/{id}", self.setting),
            *both("/settings/{id}", self.change_setting, "POST"),
            *both("/userdata", self.listing),
            *both("/v2/userdata", self.tree),
            # A file's name may have slashes; what it is moved to comes first, as the shorter pattern takes all.
            *both("/userdata/{file:path}/move/{target:path}", self.move, "POST"),
            *both("/userdata/{file:path}", self.read),
            *both("/userdata/{file:path}", self.write, "POST"),
            *both("/userdata/{file:path}", self.remove, "DELETE"),
        ]

    async def users(self, request: Request) -> Response:
        """One user, whose things are kept here."""
        return JSONResponse({"storage": "server", "migrated": True})

    async def settings(self, request: Request) -> Response:
        """All settings."""
        return JSONResponse(await asyncio.to_thread(self._settings, self._folder(request)))

    async def change_settings(self, request: Request) -> Response:
        """Set several."""
        changes = _json(await request.body())
        if not isinstance(changes, dict):
            raise InputError("settings are an object of values by name")
        await asyncio.to_thread(self._change, self._folder(request), changes)
        return empty()

    async def setting(self, request: Request) -> Response:
        """One setting, null where it is not set."""
        known = await asyncio.to_thread(self._settings, self._folder(request))
        return JSONResponse(known.get(request.path_params["id"]))

    async def change_setting(self, request: Request) -> Response:
        """Set one."""
        change = {request.path_params["id"]: _json(await request.body())}
        await asyncio.to_thread(self._change, self._folder(request), change)
        return empty()

    async def listing(self, request: Request) -> Response:
        """The files of a folder: names, or with full_info what they are."""
        query, folder = request.query_params, self._folder(request)
        if not query.get("dir"):
            raise InputError("name a folder: ?dir=workflows", "dir")
        base = within(folder, query["dir"])
        if not base.is_dir():
            raise RefusedError("there is no such folder", 404, "not_found")
        pattern = "**/*" if _yes(query.get("recurse")) else "*"
        paths = sorted(path for path in base.glob(pattern) if path.is_file())
        if _yes(query.get("full_info")):
            return JSONResponse([_info(path, base) for path in paths])
        names = [path.relative_to(base).as_posix() for path in paths]
        return JSONResponse([[name, *name.split("/")] for name in names] if _yes(query.get("split")) else names)

    async def tree(self, request: Request) -> Response:
        """What is directly below a path."""
        folder = self._folder(request)
        base = within(folder, request.query_params.get("path", ""))
        if not base.is_dir():
            raise RefusedError("there is no such folder", 404, "not_found")
        return JSONResponse([_entry(path, folder) for path in sorted(base.iterdir())])

    async def read(self, request: Request) -> Response:
        """A file."""
        path = self._file(request)
        if not path.is_file():
            raise RefusedError("there is no such file", 404, "not_found")
        return FileResponse(path, media_type="application/octet-stream")

    async def write(self, request: Request) -> Response:
        """Keep a file; 409 where it is there and may not be overwritten."""
        path, query = self._file(request), request.query_params
        if query.get("overwrite") == "false" and path.exists():
            raise RefusedError("there is such a file already", 409, "exists")
        await asyncio.to_thread(_write, path, await request.body())
        return self._answer(request, path)

    async def move(self, request: Request) -> Response:
        """Give a file another name."""
        folder, query = self._folder(request), request.query_params
        source, target = self._file(request), within(folder, request.path_params["target"])
        if not source.is_file():
            raise RefusedError("there is no such file", 404, "not_found")
        if query.get("overwrite") == "false" and target.exists():
            raise RefusedError("there is such a file already", 409, "exists")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
        return self._answer(request, target)

    async def remove(self, request: Request) -> Response:
        """Delete a file."""
        path = self._file(request)
        if not path.is_file():
            raise RefusedError("there is no such file", 404, "not_found")
        path.unlink()
        return empty(204)

    def _folder(self, request: Request) -> Path:
        return self._desks.of(request).folders.user

    def _file(self, request: Request) -> Path:
        folder = self._folder(request)
        path = within(folder, request.path_params["file"])
        if path == folder:
            raise InputError("name a file", "file")
        return path

    def _answer(self, request: Request, path: Path) -> Response:
        folder = self._folder(request)
        if _yes(request.query_params.get("full_info")):
            return JSONResponse(_info(path, folder))
        return JSONResponse(path.relative_to(os.path.realpath(folder)).as_posix())

    def _settings(self, folder: Path) -> dict[str, Any]:
        path = folder / SETTINGS
        if not path.is_file():
            return dict(FIRST_SETTINGS)
        settings: dict[str, Any] = _json(path.read_bytes())
        return settings

    def _change(self, folder: Path, changes: dict[str, Any]) -> None:
        with self._lock:
            _write(folder / SETTINGS, json.dumps({**self._settings(folder), **changes}, indent=2).encode())


def _json(data: bytes) -> Any:
    try:
        return json.loads(data or b"null")
    except (ValueError, RecursionError) as exc:
        raise InputError(f"this is no JSON ({exc}); correct it") from exc


def _write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    if path.is_dir():
        raise RefusedError("this is a folder", 400, "invalid_input")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{threading.get_ident()}")
    draft.write_bytes(data)
    draft.replace(path)


def _yes(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1")


def _info(path: Path, base: Path) -> dict[str, Any]:
    about = path.stat()
    times = {"modified": int(about.st_mtime * 1000), "created": int(about.st_ctime * 1000)}
    return {"path": path.relative_to(os.path.realpath(base)).as_posix(), "size": about.st_size, **times}


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    about = path.stat()
    shown = {"name": path.name, "path": path.relative_to(os.path.realpath(folder)).as_posix()}
    if path.is_dir():
        return {**shown, "type": "directory"}
    return {**shown, "type": "file", "size": about.st_size, "modified": int(about.st_mtime * 1000)}
