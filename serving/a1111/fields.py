"""The fields of A1111's calls: their kinds and defaults, as its version 1.10.1 has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import InputError, RefusedError

_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}

Call = dict[str, Any]
"""The fields of a call, each with a value."""


@dataclass(frozen=True)
class Field:
    """One field: its kind ("text", "file", "whole", "number", "flag", "list", "object" or "any") and what it is where
    a call says nothing. One that is not served has the `idle` values, with which it asks for nothing."""

    kind: str
    default: Any = None
    idle: tuple[Any, ...] | None = None

    def read(self, name: str, value: Any) -> Any:
        """A value of JSON as the field's, numbers from texts as A1111 takes them; raises `RefusedError` (422)."""
        if value is None:
            return self.default
        try:
            return _READERS[self.kind](value)
        except (TypeError, ValueError, OverflowError):
            raise RefusedError(f"{name} is no {_WORDS[self.kind]}; correct it", 422, "invalid_input") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _file(value: Any) -> str | bytes:
    return value if isinstance(value, bytes) else _text(value)


def _number(value: Any) -> float:
    made = float(value)
    if isinstance(value, bool | bytes) or made != made or made in (float("inf"), float("-inf")):
        raise ValueError
    return made


def _whole(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    if not _number(value).is_integer():
        raise ValueError
    return int(_number(value))


def _flag(value: Any) -> bool:
    word = str(value).lower()
    if word not in _TRUTH:
        raise ValueError
    return _TRUTH[word]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _any(value: Any) -> Any:
    return value


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "any": _any,
    "text": _text,
    "file": _file,
    "number": _number,
    "whole": _whole,
    "flag": _flag,
    "list": _list,
    "object": _object,
}
_WORDS = {
    "text": "text",
    "file": "base64 of a file",
    "number": "number",
    "whole": "whole number",
    "flag": "truth value",
    "list": "list",
    "object": "object",
}


def _rows(kind: str, **defaults: Any) -> dict[str, Field]:
    return {name: Field(kind, default) for name, default in defaults.items()}


def _idle(kind: str, **values: Sequence[Any]) -> dict[str, Field]:
    """Fields that are not served; the first of the values that ask for nothing is the default."""
    return {name: Field(kind, those[0], tuple(those)) for name, those in values.items()}


_COMMON: Mapping[str, Field] = {
    **_rows("text", prompt="", negative_prompt="", sampler_name=None, scheduler=None, sampler_index="Euler"),
    **_rows("text", script_name=None, force_task_id=None),
    **_rows("whole", seed=-1, subseed=-1, seed_resize_from_h=-1, seed_resize_from_w=-1),
    **_rows("whole", batch_size=1, n_iter=1, steps=50, width=512, height=512),
    **_rows("number", subseed_strength=0.0, cfg_scale=7.0, eta=None, denoising_strength=0.75),
    **_rows("number", s_tmax=None, s_tmin=None, refiner_switch_at=None),
    **_rows("flag", do_not_save_samples=False, do_not_save_grid=False, send_images=True, save_images=False),
    **_rows("flag", override_settings_restore_afterwards=True, disable_extra_networks=False),
    **_rows("object", override_settings={}, alwayson_scripts={}, comments=None),
    **_rows("list", script_args=[]),
    **_idle("list", styles=([],)),
    **_idle("flag", restore_faces=(None, False), tiling=(None, False)),
    **_idle("number", s_min_uncond=(None, 0), s_churn=(None, 0), s_noise=(None, 1)),
    **_idle("text", refiner_checkpoint=(None, "", "None"), firstpass_image=(None, ""), infotext=(None, "")),
}
IMG2IMG: Mapping[str, Field] = {
    **_COMMON,
    **_rows("list", init_images=None),
    **_rows("file", mask=None),
    **_rows("whole", resize_mode=0, inpainting_fill=0, inpaint_full_res_padding=0, inpainting_mask_invert=0),
    **_rows("number", mask_blur_x=4.0, mask_blur_y=4.0, mask_blur=None, image_cfg_scale=None),
    **_rows("flag", mask_round=True, inpaint_full_res=True, include_init_images=False),
    **_idle("number", initial_noise_multiplier=(None, 1)),
    **_idle("text", latent_mask=(None, "")),
}
TXT2IMG: Mapping[str, Field] = {
    **_COMMON,
    **_rows("flag", enable_hr=False),
    **_rows("number", hr_scale=2.0),
    **_rows("text", hr_upscaler=None, hr_sampler_name=None, hr_scheduler=None, hr_prompt="", hr_negative_prompt=""),
    **_rows("whole", hr_second_pass_steps=0, hr_resize_x=0, hr_resize_y=0),
    **_idle("whole", firstphase_width=(0,), firstphase_height=(0,)),
    **_idle("text", hr_checkpoint_name=(None, "", "None", "Use same checkpoint")),
}
UNIT: Mapping[str, Field] = {
    **_rows("any", image=None, mask=None, mask_image=None, effective_region_mask=None, resize_mode=1, control_mode=0),
    **_rows("text", module="none", model="None", hr_option="Both", union_control_type="Unknown"),
    **_rows("number", weight=1.0, threshold_a=-1.0, threshold_b=-1.0, guidance_start=0.0, guidance_end=1.0),
    **_rows("whole", processor_res=-1),
    **_rows("flag", enabled=True, pixel_perfect=False, save_detected_map=True),
    **_idle("list", advanced_weighting=(None, [])),
    **_idle("any", ipadapter_input=(None, "", []), batch_images=(None, "", [])),
    **_idle("flag", inpaint_crop_input_image=(True,), loopback=(False,)),
}
"""The fields of a unit of sd-webui-controlnet; of its low_vram and pulid_mode nothing comes here."""
DETECT: Mapping[str, Field] = {
    **_rows("text", controlnet_module="none"),
    **_rows("list", controlnet_input_images=[], controlnet_images=[], controlnet_masks=[]),
    **_rows("whole", controlnet_processor_res=-1),
    **_rows("number", controlnet_threshold_a=-1.0, controlnet_threshold_b=-1.0),
}
PICTURES = (
    "init_images", "mask", "image", "data", "input_image", "mask_image", "effective_region_mask",
    "controlnet_input_images", "controlnet_images", "controlnet_masks",
)  # fmt: skip
"""The fields of calls that have pictures, wherever they are within them."""
EXTRAS: Mapping[str, Field] = {
    **_rows("whole", resize_mode=0, upscaling_resize_w=512, upscaling_resize_h=512),
    **_rows("number", upscaling_resize=2.0, extras_upscaler_2_visibility=0.0, codeformer_weight=0.0),
    **_rows("flag", show_extras_results=True, upscaling_crop=True, upscale_first=False),
    **_rows("text", upscaler_1="None", upscaler_2="None"),
    **_rows("file", image=""),
    **_rows("list", imageList=[]),
    **_idle("number", gfpgan_visibility=(0,), codeformer_visibility=(0,)),
}


def read_call(document: Mapping[str, Any], table: Mapping[str, Field]) -> Call:
    """The fields of a call, those that it has not with their defaults; what is in no table is ignored.

    Raises `RefusedError` (422) for a value of another kind, and `InputError` for a field that asks for what is not
    served.
    """
    call = {name: row.read(name, document.get(name)) for name, row in table.items()}
    for name, row in table.items():
        if row.idle is not None and call[name] not in row.idle:
            raise InputError(f"{name} is not served here; leave it out", name)
    return call
