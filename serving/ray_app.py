"""The server as an application of Ray Serve: `serve run overpaint.serving.ray_app:app models=tiny max_replicas=4`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import RequestRouterConfig
from ray.serve.exceptions import BackPressureError
from starlette.applications import Starlette
from starlette.routing import Mount

from ..engines.select import usual_device
from ..errors import InputError
from .app import guarded
from .ray.calls import Call, Head
from .ray.door import Door, Failures
from .ray.painter import Painter
from .ray.router import ShapeRouter
from .settings import Settings, read_settings

PAINTER, DOOR = "overpaint", "overpaint-door"
"""The deployments' names."""

LISTENERS = 256
"""Calls of a replica beside its jobs: those that follow, fetch and cancel."""

DOOR_CALLS = 4096
"""Calls that a door has in flight at once."""

END_SECONDS = 15.0
"""What a replica has to close, after its jobs had their time."""


@dataclass(frozen=True)
class Scale:
    """How many replicas there are, and when there are more.

    Between `min_replicas` and `max_replicas`, so that each has about `target` calls in flight; those of a shape go to
    the next replica where theirs has `meet` or more. Raises `InputError` for what makes no sense.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target: int = 8
    meet: int = 16

    def __post_init__(self) -> None:
        for row in fields(self):
            value = getattr(self, row.name)
            if type(value) is not int or value < 1:
                raise InputError(f"{row.name} is {value!r}; give a whole number of at least 1", row.name)
        if self.max_replicas < self.min_replicas:
            raise InputError(f"max_replicas is {self.max_replicas}, less than min_replicas", "max_replicas")


class Replica(Painter):
    """A painter that Ray Serve ends: once no call is left, the jobs that nobody waits for have their time."""

    async def __del__(self) -> None:
        await self.close()


def app(arguments: Mapping[str, Any]) -> Any:
    """The application of settings and of a `Scale` by name, as `serve run` and a file of `serve deploy` have them.

    `config` is a TOML file of settings; variables such as OVERPAINT_SERVE_QUEUE_LIMIT count, too. Raises `InputError`
    for what is neither.
    """
    given = {name: _text(value) for name, value in arguments.items()}
    config = given.pop("config", None)
    names = [row.name for row in fields(Scale)]
    scale = Scale(**{name: _whole(name, given.pop(name)) for name in names if name in given})
    return build(read_settings(Path(config) if config else None, flags=given), scale)


def build(settings: Settings, scale: Scale | None = None) -> Any:
    """The application of settings, for `serve.run`: replicas of the server, and the door before them."""
    scale = scale or Scale()
    painter = serve.deployment(
        Replica,
        name=PAINTER,
        max_ongoing_requests=settings.queue_limit + LISTENERS,
        max_queued_requests=settings.queue_limit,
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": scale.target,
        },
        graceful_shutdown_timeout_s=settings.drain_seconds + END_SECONDS,
        ray_actor_options=_resources(settings),
        request_router_config=RequestRouterConfig(
            request_router_class=ShapeRouter, request_router_kwargs={"meet": scale.meet}
        ),
    )

    def door() -> Starlette:
        context = serve.get_replica_context()
        handle = serve.get_deployment_handle(PAINTER, context.app_name).options(stream=True, method_name="answer")

        async def answer(call: Call) -> AsyncGenerator[Head | bytes]:
            pieces = handle.remote(call)
            try:
                async for piece in pieces:
                    yield piece
            finally:
                pieces.cancel()

        before = Door(settings, answer, Failures((BackPressureError,), (RayActorError,)))
        return Starlette(routes=[Mount("/", before)], middleware=guarded(settings))

    ingress = serve.deployment(
        serve.ingress(door)(),
        name=DOOR,
        max_ongoing_requests=DOOR_CALLS,
        ray_actor_options={"num_cpus": 0},  # it waits for others; the CPUs are theirs
    )
    return ingress.bind(painter.bind(settings))


def _resources(settings: Settings) -> dict[str, float]:
    """What Ray keeps for a replica: a GPU, or as many CPUs as it has threads."""
    if (settings.device or usual_device(settings.engine)) == "cuda":
        return {"num_cpus": 1, "num_gpus": 1}
    return {"num_cpus": settings.threads or 1}


def _text(value: Any) -> str:
    """A value of a file as a flag has it."""
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r}; give a whole number", name)
    return int(text)
