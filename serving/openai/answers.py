"""Jobs as OpenAI's answers: one document, or a stream of events."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from io import BytesIO
from typing import Any

from PIL import Image

from ..follow import follow
from ..jobs import Job
from ..made import Made, MadePicture
from .errors import error_document
from .fields import GENERATION
from .wish import Answer


class Partials:
    """Which steps are shown on the way to each picture: `count` of them, evenly spread."""

    def __init__(self, count: int) -> None:
        self._count, self._shown = count, Counter[int]()

    def wanted(self, step: Mapping[str, Any]) -> bool:
        """Whether a step comes to be shown; one that nobody had time for is made up for by the next."""
        index = self._shown[step["image"]]
        return index < self._count and step["step"] * (self._count + 1) >= (index + 1) * step["of"]

    def take(self, step: Mapping[str, Any]) -> int | None:
        """The index, from 0 on, of the partial image that a step becomes; None where it is not wanted."""
        if not self.wanted(step):
            return None
        self._shown[step["image"]] += 1
        return self._shown[step["image"]] - 1


def document(job: Job, made: Made, answer: Answer, base: str) -> bytes:
    """The answer to a call that does not stream; `base` is the address of this server."""
    data: list[dict[str, Any]] = []
    for index, picture in enumerate(made.pictures):
        if answer.url:
            file = {"url": f"{base}v1/jobs/{job.id}/result?format={job.order.kind}&index={index}"}
        else:
            file = {"b64_json": _file(job, picture)}
        data.append({**file, "seed": picture.seed, "notes": list(picture.notes)})
    common = {"created": int(job.created), **_about(job, answer, made.pictures[0].image)}
    return json.dumps({**common, "data": data, "usage": usage(job), "notes": list(answer.notes)}).encode()


async def events(job: Job, answer: Answer) -> AsyncGenerator[str]:
    """The stream of a job: its partial images, then each picture, or the error."""
    partials, begin = Partials(answer.partial_images), f"image_{'generation' if answer.kind == GENERATION else 'edit'}"
    async with aclosing(follow(job, partials.wanted if answer.partial_images else False)) as notices:
        async for notice in notices:
            if notice is None:
                yield ": still there\n\n"
            elif (image := notice.image) is not None and (index := partials.take(notice.data)) is not None:
                file = await asyncio.to_thread(_preview, image, job.order.kind, job.order.quality)
                more = {"partial_image_index": index, "image_index": notice.data["image"]}
                yield _event(f"{begin}.partial_image", {**_said(job, answer, image, file), **more})
    if job.error is not None:
        yield _event("error", error_document(job.error))
        return
    for index, picture in enumerate(job.future.result().pictures):
        file = await asyncio.to_thread(_file, job, picture)
        more = {"usage": usage(job), "image_index": index, "seed": picture.seed}
        more["notes"] = [*answer.notes, *picture.notes]
        yield _event(f"{begin}.completed", {**_said(job, answer, picture.image, file), **more})
    job.collected = True


def usage(job: Job) -> dict[str, Any]:
    """What it took: no tokens, of which there are none here, but evaluations of the model, and seconds."""
    none = {"image_tokens": 0, "text_tokens": 0}
    counted = {"input_tokens": 0, "input_tokens_details": none, "output_tokens": 0, "total_tokens": 0}
    return {**counted, "evaluations": job.done, "seconds": job.summary()["seconds"]}


def _said(job: Job, answer: Answer, image: Image.Image, file: str) -> dict[str, Any]:
    return {"b64_json": file, "created_at": int(time.time()), **_about(job, answer, image)}


def _about(job: Job, answer: Answer, image: Image.Image) -> dict[str, Any]:
    width, height = image.size
    background = "transparent" if image.mode == "RGBA" else "opaque"
    about = {"background": background, "output_format": job.order.kind, "quality": answer.quality}
    return {**about, "size": f"{width}x{height}"}


def _file(job: Job, picture: MadePicture) -> str:
    data = picture.encoded(job.order.kind, quality=job.order.quality, strip=job.order.strip)
    return base64.b64encode(data).decode()


def _preview(image: Image.Image, kind: str, quality: int) -> str:
    stream = BytesIO()
    flat = image.convert("RGB") if kind == "jpeg" else image
    flat.save(stream, kind.upper(), **({} if kind == "png" else {"quality": quality}))
    return base64.b64encode(stream.getvalue()).decode()


def _event(kind: str, data: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n"
