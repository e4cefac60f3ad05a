"""ComfyUI's own page, served from where its package is installed; nothing of it is ours."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ...errors import InputError

MODULE, PACKAGE, INSTALLED = "comfyui_frontend_package", "comfyui-frontend-package", "installed"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self'",
        "frame-ancestors 'self'",
        "object-src 'none'",
    )
)
"""What a browser lets the page do: it loads from this server alone, and calls no other."""


def page_folder(setting: str) -> Path:
    """The folder of the page's files: that of the installed package, or the one that is named.

    Raises `InputError` where there is none.
    """
    if setting != INSTALLED:
        folder = Path(setting)
        if not (folder / "index.html").is_file():
            cause = f"comfy_frontend: {folder} has no index.html; name the folder `static` of {MODULE}"
            raise InputError(cause, "comfy_frontend")
        return folder
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        cause = f"comfy_frontend: ComfyUI's page is not installed; pip install {PACKAGE}"
        raise InputError(cause, "comfy_frontend")
    return Path(spec.origin).parent / "static"


def page_version(setting: str) -> str:
    """The version of the installed page, "" where it is not known."""
    if setting != INSTALLED:
        return ""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


class Page(StaticFiles):
    """The page's files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file; the page itself is asked for again each time, as the others' names change with their content."""
        response = await super().get_response(path, scope)
        response.headers["content-security-policy"] = POLICY
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["referrer-policy"] = "no-referrer"
        if not path.startswith("assets"):
            response.headers["cache-control"] = "no-cache"
        return response
