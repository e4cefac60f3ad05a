"""Pictures that clients send and fetch: /upload and /view."""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute

from ...errors import InputError, RefusedError
from ...runtime.imaging.opening import open_image
from ..bodies import in_time, read_form
from ..settings import Settings
from .desks import Desks
from .folders import Folders, within
from .routing import both

UNSAFE = (
    "text/html",
    "application/xhtml+xml",
    "text/javascript",
    "application/javascript",
    "text/css",
    "image/svg+xml",
)
"""What a browser would run; it is sent as bytes."""


class Pictures:
    """The routes of files of pictures."""

    def __init__(self, desks: Desks, settings: Settings) -> None:
        self._desks, self._settings = desks, settings

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return [
            *both("/view", self.view),
            *both("/upload/image", self.upload, "POST"),
            *both("/upload/mask", self.upload_mask, "POST"),
        ]

    async def view(self, request: Request) -> Response:
        """A file, or a preview of its picture, or one of its channels."""
        query = request.query_params
        folders = self._desks.of(request).folders
        path = folders.file(query.get("filename", ""), query.get("type") or "output", query.get("subfolder", ""))
        if not path.is_file():
            raise RefusedError("there is no such file", 404, "not_found")
        if (preview := query.get("preview")) or query.get("channel", "rgba") != "rgba":
            data, kind = await asyncio.to_thread(_converted, path, preview or "", query.get("channel", "rgba"))
            return Response(data, media_type=kind, headers=_headers(path))
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        kind = "application/octet-stream" if kind in UNSAFE else kind
        return FileResponse(path, media_type=kind, headers=_headers(path))

    async def upload(self, request: Request) -> Response:
        """Keep a picture."""
        async with in_time(self._settings):
            form = await read_form(request, self._settings)
        image = form.get("image")
        data = await image.read() if isinstance(image, UploadFile) else b""
        return await self._keep(request, form, data)

    async def upload_mask(self, request: Request) -> Response:
        """Keep a picture of before with the alpha of this one."""
        async with in_time(self._settings):
            form = await read_form(request, self._settings)
        image = form.get("image")
        data = await image.read() if isinstance(image, UploadFile) else b""
        folders = self._desks.of(request).folders
        masked = await asyncio.to_thread(_masked, folders, str(form.get("original_ref", "")), data)
        return await self._keep(request, form, masked)

    async def _keep(self, request: Request, form: FormData, data: bytes) -> Response:
        image, folders = form.get("image"), self._desks.of(request).folders
        if not isinstance(image, UploadFile) or not image.filename or not data:
            raise RefusedError("send the picture as the field image, a file", 400, "invalid_input")
        kind, subfolder = str(form.get("type") or "input"), str(form.get("subfolder") or "")
        folders.file(image.filename, kind, subfolder)  # refuses what leads out
        overwrite = str(form.get("overwrite", "")).lower() in ("true", "1")
        folder = within(folders.of(kind), subfolder)
        name = await asyncio.to_thread(_store, folder, Path(image.filename).name, data, overwrite)
        return JSONResponse({"name": name, "subfolder": subfolder, "type": kind})


def _store(folder: Path, name: str, data: bytes, overwrite: bool) -> str:
    """Write a file, under another name where there is one of other content; its name."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, suffix, count = Path(name).stem, Path(name).suffix, 0
    while not overwrite:
        try:
            with (folder / name).open("xb") as stream:
                stream.write(data)
            return name
        except FileExistsError:
            if (folder / name).is_file() and (folder / name).read_bytes() == data:
                return name
        count += 1
        name = f"{stem} ({count}){suffix}"
    (folder / name).write_bytes(data)
    return name


def _masked(folders: Folders, reference: str, data: bytes) -> bytes:
    try:
        about: Any = json.loads(reference)
        path = folders.file(about["filename"], about.get("type") or "output", about.get("subfolder") or "")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InputError("original_ref is no JSON of filename, subfolder and type", "original_ref") from exc
    if not path.is_file():
        raise RefusedError("there is no such file", 404, "not_found")
    original, mask = open_image(path).convert("RGBA"), open_image(data).convert("RGBA")
    if mask.size != original.size:
        mask = mask.resize(original.size)
    original.putalpha(mask.getchannel("A"))
    stream = BytesIO()
    original.save(stream, "PNG", compress_level=4)
    return stream.getvalue()


def _converted(path: Path, preview: str, channel: str) -> tuple[bytes, str]:
    kind, _, quality = preview.partition(";")
    kind = kind if kind in ("webp", "jpeg") else "webp" if preview else "png"
    image = open_image(path)
    match channel:
        case "rgb":
            image = image.convert("RGB")
        case "a":
            alpha = image.convert("RGBA").getchannel("A")
            image = Image.new("RGBA", image.size)
            image.putalpha(alpha)
    if kind == "jpeg":
        image = image.convert("RGB")
    stream = BytesIO()
    options = {"quality": min(int(quality[:3]), 100) if quality.isdecimal() else 90} if kind != "png" else {}
    image.save(stream, kind.upper(), **options)
    return stream.getvalue(), f"image/{kind}"


def _headers(path: Path) -> dict[str, str]:
    name = path.name.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "_")
    return {"content-disposition": f'filename="{name}"', "x-content-type-options": "nosniff"}
