"""The workflows that ship, as the page's templates."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import RefusedError
from ...runtime.imaging.opening import open_image
from ...workflow.document import parse, parse_text
from ...workflow.layout import page_format
from ...workflow.node import Nodes
from ...workflow.validate import InvalidWorkflowError, validate
from .desks import Desks

THUMBNAIL, OTHER_PICTURE, SIDE = "-1.png", "fox.png", 320


class Templates:
    """The routes of templates: their list, each of them, and their pictures."""

    def __init__(self, desks: Desks, nodes: Nodes) -> None:
        self._desks, self._nodes = desks, nodes

    def routes(self) -> Sequence[BaseRoute]:
        """The routes, which are there without /api alone."""
        return [Route("/templates/{name}", self.file)]

    async def file(self, request: Request) -> Response:
        """A file of the templates'; the list in the page's language is the same list."""
        name = request.path_params["name"]
        if name.startswith("index_logo"):
            return JSONResponse({})
        if name.startswith("index") and name.endswith(".json"):
            return JSONResponse(await asyncio.to_thread(self._index, self._desks.of(request).bench))
        stem, _, kind = name.rpartition(".")
        if kind == "json" and stem in workflows():
            return JSONResponse(await asyncio.to_thread(self._page_format, stem, self._desks.of(request).bench))
        if name.endswith(THUMBNAIL) and (own := name.removesuffix(THUMBNAIL)) in workflows():
            return Response(_picture(own), media_type="image/png")
        raise RefusedError("there is no such template; see /templates/index.json", 404, "not_found")

    def _index(self, bench: Any) -> list[dict[str, Any]]:
        """The list of templates: those whose models and files are there."""
        templates = [
            {
                "name": name,
                "title": _title(name),
                "description": _description(document),
                "mediaType": "image",
                "mediaSubtype": "png",
                "tags": ["overpaint"],
            }
            for name, document in workflows().items()
            if self._sound(document, bench)
        ]
        category = {"moduleName": "default", "title": "overpaint", "category": "overpaint", "type": "image"}
        return [{**category, "isEssential": True, "templates": templates}]

    def _sound(self, document: Mapping[str, Any], bench: Any) -> bool:
        try:
            return not validate(parse(document), self._nodes, bench).problems
        except InvalidWorkflowError:
            return False

    def _page_format(self, name: str, bench: Any) -> dict[str, Any]:
        document = page_format(parse(workflows()[name]), self._nodes, bench)
        return {**document, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name))}


@cache
def workflows() -> Mapping[str, Any]:
    """The workflows that ship, in the API format, by their names."""
    folder = _examples() / "workflows"
    if not folder.is_dir():
        return {}
    entries = sorted((each for each in folder.iterdir() if each.name.endswith(".json")), key=lambda each: each.name)
    return {each.name.removesuffix(".json"): parse_text(each.read_bytes()) for each in entries}


def _examples() -> Traversable:
    package = __package__.rpartition(".serving")[0]
    return files(f"{package}.models") / "examples"


def _title(name: str) -> str:
    words = name.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def _description(document: Mapping[str, Any]) -> str:
    kinds = list(dict.fromkeys(node["class_type"] for node in document.values()))
    return f"{len(document)} nodes: {', '.join(kinds)}"


@cache
def _picture(name: str) -> bytes:
    """The picture that a workflow loads first, or another of the examples."""
    loaded = [
        node["inputs"].get("image") for node in workflows()[name].values() if node["class_type"].startswith("LoadImage")
    ]
    chosen = next((each for each in loaded if isinstance(each, str) and (_examples() / each).is_file()), OTHER_PICTURE)
    image, stream = open_image((_examples() / chosen).read_bytes()), BytesIO()
    image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(stream, "PNG")
    return stream.getvalue()
