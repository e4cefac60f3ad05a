"""All settings of the server: a row each, from which the file, the environment and the flags are read."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError, unknown
from ..runtime.imaging.limits import MAX_PIXELS
from .addresses import check_hosts
from .logs import KINDS

PREFIX = "OVERPAINT_SERVE_"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
COMFY_PORT = 8189
POLICIES = ("cancel", "keep")
ON_HANG = ("report", "exit")
Size = tuple[int, int]


def _row(default: Any, kind: str, help_: str, least: float = 0, secret: bool = False, alone: str = "") -> Any:
    """A row; `alone` is what its flag means without a value."""
    alone = "true" if kind == "flag" else alone
    return field(
        default=default,
        repr=not secret,
        metadata={"kind": kind, "help": help_, "least": least, "shown": _shown(default), "alone": alone},
    )


def _shown(value: Any) -> str:
    """A value as a flag or a variable has it."""
    if isinstance(value, tuple):
        return ",".join("x".join(map(str, each)) if isinstance(each, tuple) else each for each in value) or "none"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Settings:
    """What the server does where a request says nothing, and what it allows.

    A row's `metadata` has its kind, its help, the least value, and its default as it is shown. Raises `InputError`,
    with the row's name, for a value that cannot be used.
    """

    models: tuple[str, ...] = _row(("tiny",), "texts", "bundles, each a name, a path or name=path; the first is usual")
    upscalers: tuple[str, ...] = _row((), "texts", "exported upscalers, each a path or name=path")
    embeddings: tuple[str, ...] = _row((), "texts", "files of textual inversions that all models take")
    loras: tuple[str, ...] = _row((), "texts", "folders of LoRAs, or files, that prompts name as <lora:name:0.8>")
    lora_partial: bool = _row(False, "flag", "leave out tensors of LoRAs that belong to no layer, instead of refusing")
    lora_mode: str = _row("inputs", "text", "inputs: pictures of different LoRAs share calls; merged: into weights")
    controlnets: tuple[str, ...] = _row(
        (), "texts", "ControlNets that requests may name, each a folder, or one of several, or name=path"
    )
    image_prompt_adapters: tuple[str, ...] = _row(
        (), "texts", "image-prompt adapters that requests may name, likewise; the first is usual"
    )
    preprocessors: tuple[str, ...] = _row(
        (), "texts", "ONNX files that make hints for ControlNets, each a path or name=path"
    )
    host: str = _row("127.0.0.1", "text", "the address to listen at; 0.0.0.0 is all of them")
    port: int = _row(8188, "whole", "the port to listen at; 0 is any that is free")
    engine: str = _row("auto", "text", "what runs the graphs")
    device: str | None = _row(None, "text", "cpu or cuda, as the engine has it")
    precision: str | None = _row(None, "text", "float32, bfloat16 or float16")
    threads: int = _row(0, "whole", "CPU threads of the engine, 0 for all")
    warm_up: tuple[Size, ...] = _row(((0, 0),), "sizes", "sizes to compile for before it is ready; 0x0 is the model's")
    api_keys: tuple[str, ...] = _row(
        (), "texts", "keys of which every call brings one; the variable shows them to fewer than the flag", secret=True
    )
    hosts: tuple[str, ...] = _row((), "texts", "names that it is called by; at a loopback address its own where empty")
    origins: tuple[str, ...] = _row((), "texts", "web pages of other origins that may call it")
    queue_limit: int = _row(64, "whole", "jobs that wait or run at once", 1)
    timeout: float | None = _row(None, "number", "seconds from its arrival that a job has where it does not say")
    body_seconds: float = _row(60.0, "number", "seconds in which a request's body has to come")
    max_body: int = _row(64 * 2**20, "whole", "bytes of a request's body", 1)
    max_pixels: int = _row(MAX_PIXELS, "whole", "pixels of a picture that is read or made", 1)
    max_depth: int = _row(16, "whole", "levels of a JSON document", 2)
    max_images: int = _row(64, "whole", "pictures that a job makes", 1)
    fetch_urls: tuple[str, ...] = _row(
        (),
        "texts",
        "hosts whose pictures may be sent as addresses, such as *.example.com or host:8080; * is all",
    )
    fetch_seconds: float = _row(10.0, "number", "seconds in which a call's pictures by address have to come")
    keep_jobs: int = _row(256, "whole", "ended jobs whose results are kept")
    keep_seconds: float = _row(900.0, "number", "seconds that they are kept")
    tool_threads: int = _row(8, "whole", "jobs other than img2img that run at once", 1)
    on_disconnect: str = _row("cancel", "text", "cancel or keep a job whose waiting client goes away")
    drain_seconds: float = _row(60.0, "number", "seconds that open jobs have when the server is told to end")
    linger_seconds: float = _row(5.0, "number", "seconds that their results are then kept for those who ask")
    watchdog_seconds: float = _row(600.0, "number", "seconds without a sign of work after which it is unhealthy")
    on_hang: str = _row("report", "text", "then: report it, or exit with code 70, to be started again")
    supervise: bool = _row(False, "flag", "keep a process beside it that starts it again when it dies")
    log: str = _row("none", "text", "a line for each call and job on standard error: none, text or json")
    traces: bool = _row(False, "flag", "spans for OpenTelemetry, of which the extra telemetry has the interface")
    page: bool = _row(True, "flag", "a page to paint in, at /, which is loaded without a key")
    comfy_port: int | None = _row(None, "whole", "a port for ComfyUI's interface, at the same address; 0 is any")
    comfy_frontend: str = _row(
        "",
        "text",
        "ComfyUI's page there, installed as comfyui-frontend-package, or the folder of its files; implies port 8189",
        alone="installed",
    )
    comfy_dir: str = _row("overpaint-comfy", "text", "the folder of its input, output, temp and user files")
    comfy_runs: int = _row(4, "whole", "workflows of several clients that run at once", 1)
    metrics: bool = _row(True, "flag", "count for Prometheus, at /metrics")

    def __post_init__(self) -> None:
        for row in fields(self):
            object.__setattr__(self, row.name, _checked(row, getattr(self, row.name)))
        if self.on_disconnect not in POLICIES:
            raise unknown("policy", self.on_disconnect, POLICIES, "on_disconnect")
        if self.on_hang not in ON_HANG:
            raise unknown("policy", self.on_hang, ON_HANG, "on_hang")
        if self.log not in KINDS:
            raise unknown("kind of log", self.log, KINDS, "log")
        if not self.models:
            raise InputError("models: name one at least", "models")
        if any(len(key) < 8 for key in self.api_keys):
            raise InputError("api_keys: a key has at least 8 characters", "api_keys")
        if self.comfy_frontend and self.comfy_port is None:
            object.__setattr__(self, "comfy_port", COMFY_PORT)
        for name in ("port", "comfy_port"):
            if (getattr(self, name) or 0) > 65535:
                raise InputError(f"{name}: {getattr(self, name)} is none; give 0 to 65535", name)
        if self.port and self.port == self.comfy_port:
            raise InputError(f"comfy_port: {self.port} is the server's own; give another", "comfy_port")
        check_hosts(self.fetch_urls, "fetch_urls")
        self.named_models()
        self.named_upscalers()
        self.named_controlnets()
        self.named_image_prompt_adapters()
        self.named_preprocessors()

    @property
    def names(self) -> frozenset[str]:
        """The names that it may be called by, empty for any: a web page may give loopback a name of its own."""
        if self.hosts or self.host not in LOOPBACK:
            return frozenset(self.hosts)
        return frozenset(LOOPBACK)

    def table(self) -> str:
        """A line a setting; of keys only how many there are."""
        shown = {name: _shown(getattr(self, name)) for name in ROWS}
        shown["api_keys"] = f"{len(self.api_keys)} keys"
        return "\n".join(f"{name}: {value}" for name, value in shown.items())

    def named_models(self) -> dict[str, str]:
        """The bundles' paths by the names they are served under; raises `InputError` for a name given twice."""
        return _named(self.models, "models")

    def named_upscalers(self) -> dict[str, str]:
        """The same of the upscalers."""
        return _named(self.upscalers, "upscalers")

    def named_controlnets(self) -> dict[str, str]:
        """The same of the ControlNets."""
        return _named(self.controlnets, "controlnets")

    def named_image_prompt_adapters(self) -> dict[str, str]:
        """The same of the image-prompt adapters."""
        return _named(self.image_prompt_adapters, "image_prompt_adapters")

    def named_preprocessors(self) -> dict[str, str]:
        """The ONNX files of preprocessors by the names that requests have for them; raises as `named_models` does."""
        return _named(self.preprocessors, "preprocessors")


def _named(texts: tuple[str, ...], row: str) -> dict[str, str]:
    named: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        name, path = (name, path) if equals else (Path(text).name.removesuffix(".onnx"), text)
        if not name or not path or name in named:
            raise InputError(f"{row}: {text!r} has no name of its own; write name=path", row)
        named[name] = path
    return named


ROWS: Mapping[str, Field[Any]] = {row.name: row for row in fields(Settings)}


def read_settings(
    config: Path | None = None, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
) -> Settings:
    """The settings of a TOML file, over which go variables such as OVERPAINT_SERVE_PORT, and over these flags by name.

    Texts are read by each row's kind, lists with commas. Raises `InputError` for what cannot be read or used.
    """
    variables = os.environ if environment is None else environment
    given: dict[str, Any] = _file(config) if config else {}
    for name, text in variables.items():
        if name.startswith(PREFIX):
            own = name.removeprefix(PREFIX).lower()
            given[own] = _read(_known(own, name), text, name)
    for name, text in (flags or {}).items():
        given[name] = _read(_known(name, name), text, f"--{name.replace('_', '-')}")
    return Settings(**given)


def _file(path: Path) -> dict[str, Any]:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"{path}: cannot be read ({exc.strerror}); check the path") from exc
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path}: is no TOML ({exc}); correct it") from exc
    for name, value in given.items():
        row = _known(name, f"{path}: {name}")
        if row.metadata["kind"] == "sizes" and isinstance(value, list):
            given[name] = [_size(each, name) if isinstance(each, str) else each for each in value]
    return given


def _known(name: str, shown: str) -> Field[Any]:
    if name not in ROWS:
        raise unknown("setting", shown.removeprefix(PREFIX).lower(), ROWS, name)
    return ROWS[name]


def _read(row: Field[Any], text: str, shown: str) -> Any:
    """A text as the value of a row."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        match row.metadata["kind"]:
            case "whole":
                return int(text)
            case "number":
                return float(text) if text else None
            case "flag":
                return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
            case "texts":
                return tuple(parts)
            case "sizes":
                return tuple(_size(part, row.name) for part in parts)
    except (ValueError, KeyError):
        raise InputError(f"{shown} is {text!r}, which is no {row.metadata['kind']}; correct it", row.name) from None
    return text


def _size(text: str, name: str) -> Size:
    width, _, height = text.lower().partition("x")
    if not width.isdecimal() or not height.isdecimal():
        raise InputError(f"{name}: {text!r} is no size; write 512x768", name)
    return int(width), int(height)


def _checked(row: Field[Any], value: Any) -> Any:
    """The value of a row, lists as tuples; raises `InputError` for one of another kind."""
    kind, least = row.metadata["kind"], row.metadata["least"]
    if value is None and row.default is None:
        return None
    if isinstance(value, list):
        value = tuple(tuple(each) if isinstance(each, list) else each for each in value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = {
        "text": isinstance(value, str),
        "flag": isinstance(value, bool),
        "whole": number and isinstance(value, int) and value >= least,
        "number": number and least <= value < float("inf"),
        "texts": isinstance(value, tuple) and all(isinstance(each, str) and each for each in value),
        "sizes": isinstance(value, tuple) and all(map(_is_size, value)),
    }[kind]
    if not good:
        least_text = f" of at least {least:g}" if kind in ("whole", "number") else ""
        raise InputError(f"{row.name} is {value!r}; give a value of the kind {kind}{least_text}", row.name)
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(side) is int and side >= 0 for side in value)
