"""What a service says of itself: models, options, its document, health and metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..bundles.facts import Defaults
from ..errors import RefusedError
from .controls import preprocessors
from .fields import document_schema, tool_of
from .metrics import MEDIA_TYPE, Metrics
from .openapi import openapi
from .orders import VERBS
from .service import Service


class About:
    """The routes on what a service is and how it is; metrics where they are counted."""

    def __init__(self, service: Service, metrics: Metrics | None, others: Sequence[BaseRoute] = ()) -> None:
        """`others` are the routes of other programs' interfaces, which the document names."""
        self._service, self._metrics, self._others = service, metrics, others
        self._created = int(time.time())

    def routes(self) -> Sequence[BaseRoute]:
        """The routes."""
        return (
            Route("/v1/models", self.models),
            Route("/v1/models/{id}", self.model),
            Route("/v1/options", self.options),
            Route("/openapi.json", self.openapi),
            Route("/healthz", self.health),
            Route("/readyz", self.readiness),
            Route("/metrics", self.metrics),
        )

    async def models(self, request: Request) -> Response:
        """The models that are served, as OpenAI's clients read them, too; the first is usual."""
        models = [self._model(name) for name in self._service.models]
        upscalers = list(self._service.upscalers)
        return JSONResponse({"object": "list", "data": models, "models": models, "upscalers": upscalers})

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["id"]
        if name not in self._service.models:
            raise RefusedError(f"there is no model {name[:64]!r}; see /v1/models", 404, "not_found")
        return JSONResponse(self._model(name))

    async def options(self, request: Request) -> Response:
        """The JSON schema of what may be sent for ?verb=, with the defaults of ?model=."""
        verb, name = request.query_params.get("verb", "img2img"), request.query_params.get("model", "")
        defaults = self._defaults(name, verb)
        return JSONResponse(document_schema(verb, self._service.settings, defaults))

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document, with the first model's defaults."""
        schemas = {verb: document_schema(verb, self._service.settings, self._defaults("", verb)) for verb in VERBS}
        return JSONResponse(openapi(schemas, self._others))

    async def health(self, request: Request) -> Response:
        """Whether work goes on: 503 where a job has shown no sign of it for too long."""
        stalled = self._service.stalled()
        return JSONResponse({"status": "stalled" if stalled else "ok", "jobs": stalled}, 503 if stalled else 200)

    async def readiness(self, request: Request) -> Response:
        """Whether jobs are taken: 503 before the warm-up is done, and when draining."""
        service = self._service
        status = "draining" if service.draining else "ready" if service.ready else "starting"
        return JSONResponse({"status": status}, 200 if status == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        """What Prometheus reads."""
        if self._metrics is None:
            raise RefusedError("nothing is counted; set metrics to true", 404, "not_found")
        return Response(self._metrics.text(), media_type=MEDIA_TYPE)

    def _model(self, name: str) -> dict[str, Any]:
        model = self._service.models[name]
        facts = model.bundle.model
        return {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "overpaint",
            "family": facts.family,
            "default_size": list(facts.default_size),
            "multiple": facts.multiple,
            "sampler": facts.default_sampler,
            "defaults": {verb: asdict(self._defaults(name, verb)) for verb in VERBS},
            "controlnets": list(model.stages.controlnets.offered),
            "image_prompt_adapters": list(model.stages.image_adapters.offered),
            "preprocessors": list(preprocessors(self._service.settings)),
            "engines": model.labels,
        }

    def _defaults(self, name: str, verb: str) -> Defaults:
        defaults: Any = self._service.model(name).bundle.model.defaults[tool_of(verb)]
        made: Defaults = defaults
        return made
