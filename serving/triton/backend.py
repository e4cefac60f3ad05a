"""What runs within Triton's python backend: requests become jobs of a service, answers go out as they end."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, OverpaintError
from ..documents import Document, parse_json
from ..jobs import Job
from ..refusals import error_document, status_of
from ..schemas import order_of
from ..service import Service
from ..settings import read_settings
from .repository import BUNDLE

CANCEL_SECONDS = 0.1
"""How often it is looked whether a client went away."""

_CODES: Mapping[int, str] = {429: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "UNAVAILABLE", 409: "CANCELLED"}
"""Triton's words for a status of HTTP; other 4xx are INVALID_ARG, other 5xx INTERNAL."""

_log = logging.getLogger(__name__)


class Backend:
    """A service behind Triton: `execute` returns at once, so that requests in flight together share the model's calls.

    A request is answered by its own sender, once its job has ended. `triton` is Triton's own module of utilities, which
    exists only there.
    """

    def __init__(self, service: Service, triton: Any) -> None:
        self._service, self._triton = service, triton
        self._threads = ThreadPoolExecutor(thread_name_prefix="overpaint-triton")
        self._open: dict[str, tuple[Job, Any]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="overpaint-triton-watch", daemon=True)
        self._watching.start()

    @classmethod
    def open(cls, args: Mapping[str, str], triton: Any) -> Backend:
        """The backend of `initialize`'s arguments: loads the bundle of the model's version, and warms up.

        Raises as `Service.load` does.
        """
        if args["model_instance_kind"] == "GPU":  # an instance is a process of its own
            os.environ["CUDA_VISIBLE_DEVICES"] = args["model_instance_device_id"]
        config = json.loads(args["model_config"])
        flags = {name: each["string_value"] for name, each in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"]) / args["model_version"] / BUNDLE
        own = {"models": f"{args['model_name']}={folder}", "keep_jobs": "0"}  # nobody asks for a result later
        service = Service.load(read_settings(environment={}, flags={**flags, **own}))
        service.start()
        return cls(service, triton)

    def execute(self, requests: Iterable[Any]) -> None:
        """Take requests; each is answered later."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                document, id = self._document(request), request.request_id()
            except OverpaintError as exc:
                self._refuse(sender, exc)
            else:
                self._threads.submit(self._begin, document, id, sender)

    def close(self) -> None:
        """Take no more, wait for what is under way as long as `drain_seconds`, and release the model."""
        self._service.drain()
        self._service.close()
        self._closed.set()
        self._watching.join()
        self._threads.shutdown()

    def _document(self, request: Any) -> Document:
        """What a request asks for, as the server's documents have it."""
        image = self._input(request, "image")
        if image is None:
            raise InputError("image is missing; send the bytes of a picture's file", "image")
        document: Document = {"image": np.asarray(image, np.uint8).tobytes()}
        for name, value in (("prompt", _text), ("strength", _number), ("options", _text)):
            if (array := self._input(request, name)) is not None:
                document[name] = value(name, array)
        if microseconds := int(request.timeout()):
            document["timeout"] = microseconds / 1e6
        options = parse_json(document.pop("options", "") or "{}", self._service.settings.max_depth)
        for name in options:
            if name in document:
                raise InputError(f"{name} is given twice, also in options; give it once", name)
        return {**options, **document}

    def _input(self, request: Any, name: str) -> Any:
        tensor = self._triton.get_input_tensor_by_name(request, name)
        return None if tensor is None else tensor.as_numpy()

    def _begin(self, document: Document, id: str, sender: Any) -> None:
        try:
            order = order_of(document, self._service.settings)
            if order.options.get("n", 1) != 1:
                raise InputError("a request has one picture here; send one for each", "n")
            job = self._service.submit(order, request=id)
        except Exception as exc:  # noqa: BLE001 - the client is to hear of it
            self._refuse(sender, exc)
            return
        with self._lock:
            self._open[job.id] = job, sender
        job.future.add_done_callback(lambda _: self._threads.submit(self._answer, job, sender))

    def _answer(self, job: Job, sender: Any) -> None:
        """Send what came of a job."""
        with self._lock:
            self._open.pop(job.id, None)
        try:
            (picture,) = job.future.result().pictures
            order = job.order
            data = picture.encoded(order.kind, quality=order.quality, strip=order.strip)
            outputs = [
                self._triton.Tensor("image", np.frombuffer(data, np.uint8)),
                self._triton.Tensor("parameters", np.array([picture.parameters.encode()], np.object_)),
            ]
            self._send(sender, self._triton.InferenceResponse(outputs))
        except Exception as exc:  # noqa: BLE001 - the client is to hear of it
            self._refuse(sender, exc)

    def _refuse(self, sender: Any, error: Exception) -> None:
        """Send an error: its word, as the server has it, its message, and the field at fault."""
        if not isinstance(error, OverpaintError):
            _log.error("a request failed", exc_info=error)
        said = error_document(error)["error"]
        field = f" (field {said['field']})" if said["field"] else ""
        status = status_of(error)
        code = _CODES.get(status) or ("INVALID_ARG" if status < 500 else "INTERNAL")
        kind = self._triton.TritonError
        failure = kind(f"{said['type']}: {said['message']}{field}", getattr(kind, code))
        self._send(sender, self._triton.InferenceResponse(error=failure))

    def _send(self, sender: Any, response: Any) -> None:
        try:
            sender.send(response, flags=self._triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception:  # noqa: BLE001 - nobody is there to hear it
            _log.exception("an answer cannot be sent")

    def _watch(self) -> None:
        """Cancel the jobs of clients that went away."""
        while not self._closed.wait(CANCEL_SECONDS):
            with self._lock:
                waiting = tuple(self._open.values())
            for job, sender in waiting:
                if sender.is_cancelled():
                    job.cancel()


def _text(name: str, array: Any) -> str:
    try:
        value = np.asarray(array).reshape(-1)[0]
        return value.decode() if isinstance(value, bytes) else str(value)
    except (IndexError, UnicodeDecodeError):
        raise InputError(f"{name} is no text; send one of UTF-8", name) from None


def _number(name: str, array: Any) -> float:
    """A float32 as the number that was meant: 0.4, not 0.4000000059604645."""
    try:
        return float(str(np.asarray(array).reshape(-1)[0]))
    except IndexError:
        raise InputError(f"{name} is no number; send one", name) from None
