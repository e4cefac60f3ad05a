"""The OpenAPI document of the server's own interface, made from the schemas of its verbs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute, Route

from ..version import __version__
from .bodies import FORM, JSON
from .made import MEDIA_TYPES

_ERRORS: Mapping[str, str] = {
    "400": "something in the call cannot be used; the field is named",
    "401": "no key, or a wrong one",
    "404": "there is no such job",
    "409": "the job is not done, was cancelled, or the idempotency key was used for another call",
    "413": "the body is too large",
    "415": "the body is of another kind",
    "429": "the queue is full; Retry-After has the seconds",
    "500": "the model or the server failed",
    "503": "the server starts, ends, or has too little memory",
    "504": "the deadline has passed",
}


def openapi(schemas: Mapping[str, Mapping[str, Any]], others: Sequence[BaseRoute] = ()) -> dict[str, Any]:
    """The document, of OpenAPI 3.1; `schemas` are those of documents by verb, `others` routes that it names alone."""
    document = {"oneOf": [_of(f"{verb}") for verb in schemas]}
    wait = _query("wait", "answer with the result", {"type": "boolean", "default": False})
    previews = _query("previews", "send previews, too", {"type": "boolean", "default": True})
    index = _query("index", "which of several pictures", {"type": "integer", "minimum": 0, "default": 0})
    format_ = _query("format", "of the answer", {"enum": ["json", *MEDIA_TYPES]})
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
    pictures = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES.values()}
    job, result = {JSON: {"schema": _of("job")}}, {**pictures, JSON: {"schema": _of("job")}}
    body = {"required": True, "content": {kind: {"schema": document} for kind in (JSON, FORM)}}
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "overpaint", "version": __version__},
        "security": [{}, {"bearer": []}, {"header": []}],
        "paths": {
            "/v1/jobs": {
                "post": {
                    **_call("Submit a job", {"202": job, "200": result}, wait, index, format_, key),
                    "requestBody": body,
                }
            },
            "/v1/jobs/{id}": {
                "parameters": [_ID],
                "get": _call("How a job goes", {"200": job}),
                "delete": _call("Cancel a job", {"200": job}),
            },
            "/v1/jobs/{id}/events": {
                "parameters": [_ID],
                "get": _call("Status, progress, previews and the end as server-sent events", {"200": stream}, previews),
            },
            "/v1/jobs/{id}/result": {
                "parameters": [_ID],
                "get": _call("The pictures of a job that is done", {"200": result}, index, format_),
            },
            **dict(_named(others)),
            "/v1/models": {"get": _call("The models that are served", {"200": _ANY})},
            "/v1/models/{id}": {"parameters": [_ID], "get": _call("One of them", {"200": _ANY})},
            "/v1/options": {
                "get": _call(
                    "The schema of what may be sent for a verb",
                    {"200": _ANY},
                    _query("verb", "which verb", {"enum": list(schemas), "default": "img2img"}),
                    _query("model", "whose defaults", {"type": "string"}),
                )
            },
            "/healthz": {"get": _call("Whether work goes on", {"200": _ANY})},
            "/readyz": {"get": _call("Whether jobs are taken", {"200": _ANY})},
            "/metrics": {
                "get": _call("What Prometheus reads", {"200": {"text/plain": {"schema": {"type": "string"}}}})
            },
        },
        "components": {
            "schemas": {**schemas, "job": _JOB, "error": _ERROR},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _named(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The routes of other interfaces by their paths, with the first lines of their docstrings."""
    for route in routes:
        if isinstance(route, Route):
            summary = (route.endpoint.__doc__ or route.name).partition("\n")[0].rstrip(".")
            calls = {method.lower(): _call(summary, {"200": _ANY}) for method in (route.methods or set()) - {"HEAD"}}
            parameters = [{**_ID, "name": name} for name in route.param_convertors]
            yield route.path, {"parameters": parameters, **calls}


def _of(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _query(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _call(summary: str, answers: Mapping[str, Any], *parameters: Mapping[str, Any]) -> dict[str, Any]:
    good = {status: {"description": summary, "content": content} for status, content in answers.items()}
    bad = {
        status: {"description": words, "content": {JSON: {"schema": _of("error")}}} for status, words in _ERRORS.items()
    }
    return {"summary": summary, "parameters": list(parameters), "responses": {**good, **bad}}


_ANY: Mapping[str, Any] = {JSON: {"schema": {"type": "object"}}}
_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "field": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "field"],
        }
    },
    "required": ["error"],
}
_JOB = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "verb": {"type": "string"},
        "model": {"type": "string"},
        "status": {"enum": ["queued", "running", "done", "failed", "cancelled"]},
        "stage": {"enum": ["", "encoding", "denoising", "decoding"]},
        "progress": {
            "type": "object",
            "properties": {
                "done": {"type": "integer"},
                "total": {"type": "integer"},
                "fraction": {"type": "number", "minimum": 0, "maximum": 1},
            },
        },
        "created": {"type": "number", "description": "in seconds of Unix time"},
        "seconds": {"type": "number", "description": "since its arrival"},
        "queued_seconds": {"type": "number", "description": "before it began"},
        "result": {"type": "object"},
        "error": _ERROR["properties"],
    },
    "required": ["id", "verb", "model", "status", "stage", "progress", "created", "seconds", "queued_seconds"],
}
