"""What A1111's calls answer: pictures as base64, and `info`, a JSON text of how they were made."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from PIL import Image

from ...runtime.imaging.metadata import Parameters, parse_parameters
from ...version import __version__
from ..jobs import Job
from ..made import Made, MadePicture
from ..service import Service
from .lists import model_hash
from .options import Reading
from .pictures import base64_png

_BLANKED = ("init_images", "mask")
# What `info` has keys of its own for, or says of the picture's file.
_OWN_KEYS = ("Version", "Batch size", "Batch pos")


def answer(service: Service, reading: Reading, job: Job, made: Made, maps: Sequence[Image.Image] = ()) -> bytes:
    """The body of an answer; encodes the pictures, and behind them the hints of ControlNets."""
    call, order = reading.call, job.order
    images = []
    if call["send_images"]:
        for picture in made.pictures:
            data = picture.encoded(order.kind, quality=order.quality)
            images.append(base64.b64encode(data).decode())
        images += [base64_png(each) for each in maps if made.pictures]
    shown = dict(call)
    if not call.get("include_init_images"):
        shown |= {name: None for name in _BLANKED if name in shown}
    info = info_of(service, reading, order.model, made.pictures)
    body = {"images": images, "parameters": shown, "info": json.dumps(info)}
    return json.dumps(body, default=lambda data: base64.b64encode(data).decode()).encode()


def info_of(service: Service, reading: Reading, model: str, pictures: Sequence[MadePicture]) -> dict[str, Any]:
    """All keys that A1111's `info` has, and "notes" on what was not followed."""
    call = reading.call
    parsed = [parse_parameters(picture.parameters) for picture in pictures]
    first = parsed[0] if parsed else Parameters(call["prompt"], call["negative_prompt"])
    seeds = [call["seed"] if picture.seed is None else picture.seed for picture in pictures]
    varied = bool(call["subseed_strength"])
    subseeds = [call["subseed"] + index for index in range(len(pictures))]
    width, height = pictures[0].image.size if pictures else reading.size
    notes = [*reading.notes, *(note for picture in pictures for note in picture.notes)]
    return {
        "prompt": call["prompt"],
        "all_prompts": [each.prompt for each in parsed],
        "negative_prompt": call["negative_prompt"],
        "all_negative_prompts": [each.negative_prompt for each in parsed],
        "seed": call["seed"],
        "all_seeds": seeds,
        "subseed": call["subseed"],
        "all_subseeds": [_variation(each, own) for each, own in zip(parsed, subseeds, strict=True)]
        if varied
        else subseeds,
        "subseed_strength": call["subseed_strength"],
        "width": width,
        "height": height,
        "sampler_name": first.sampler or call["sampler_name"] or call["sampler_index"],
        "cfg_scale": call["cfg_scale"],
        "steps": call["steps"],
        "batch_size": call["batch_size"],
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": model,
        "sd_model_hash": model_hash(service.models[model])[:10],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": call["seed_resize_from_w"],
        "seed_resize_from_h": call["seed_resize_from_h"],
        "denoising_strength": first.denoising_strength,
        "extra_generation_params": _extra(first),
        "index_of_first_image": 0,
        "infotexts": [picture.parameters for picture in pictures],
        "styles": [],
        "job_timestamp": datetime.now().strftime("%Y%m%d%H%M%S"),
        "clip_skip": first.clip_skip or 1,
        "is_using_inpainting_conditioning": service.models[model].bundle.model.inpaints,
        "version": f"overpaint {__version__}",
        "notes": list(dict.fromkeys(notes)),
    }


def _extra(parameters: Parameters) -> Mapping[str, str]:
    schedule = {} if parameters.schedule_type is None else {"Schedule type": parameters.schedule_type}
    return {**schedule, **{name: value for name, value in parameters.extra if name not in _OWN_KEYS}}


def _variation(parameters: Parameters, usual: int) -> int:
    text = dict(parameters.extra).get("Variation seed", "")
    return int(text) if text.isdecimal() else usual
