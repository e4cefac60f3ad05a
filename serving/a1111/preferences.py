"""What A1111 calls options: each caller's own, of which a call may override some for itself."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from ...errors import InputError, unknown
from ...runtime.model.model import Model
from ...version import __version__
from ..service import Service
from .lists import model_hash, title

MODEL, CLIP_SKIP, NOISE, DELTA = (
    "sd_model_checkpoint",
    "CLIP_stop_at_last_layers",
    "randn_source",
    "eta_noise_seed_delta",
)
FORMAT, QUALITY = "samples_format", "jpeg_quality"
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
SOURCES = {"GPU": "gpu", "NV": "gpu", "CPU": "cpu"}

_CHANGEABLE: Mapping[str, Any] = {CLIP_SKIP: 1, NOISE: "GPU", DELTA: 0, FORMAT: "png", QUALITY: 80}
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "sd_vae": ("Automatic", "None", None),
    "face_restoration": (False,),
    "face_restoration_model": ("CodeFormer", "GFPGAN", None),
    "tiling": (False,),
    "img2img_color_correction": (False,),
    "img2img_fix_steps": (False,),
    "img2img_background_color": ("#ffffff",),
    "img2img_extra_noise": (0,),
    "initial_noise_multiplier": (1, None),
    "inpainting_mask_weight": (1,),
    "emphasis": ("Original",),
    "enable_emphasis": (True,),
    "comma_padding_backtrack": (20,),
    "upcast_attn": (False,),
    "eta_ancestral": (1,),
    "eta_ddim": (0,),
    "s_churn": (0,),
    "s_min_uncond": (0,),
    "s_noise": (1,),
    "sgm_noise_multiplier": (False,),
    "always_discard_next_to_last_sigma": (False,),
    "uni_pc_order": (3,),
    "uni_pc_variant": ("bh1",),
    "token_merging_ratio": (0,),
    "token_merging_ratio_img2img": (0,),
    "token_merging_ratio_hr": (0,),
    "sd_hypernetwork": ("None", None),
    "return_grid": (False,),
    "grid_save": (False,),
    "samples_save": (False,),
    "return_mask": (False,),
    "return_mask_composite": (False,),
    "show_progress_every_n_steps": (1,),
    "live_previews_enable": (True,),
    "enable_pnginfo": (True,),
}
"""Options that have one effect here, with the values that stand for it; the first is shown."""
MAX_CALLERS = 1024


class Preferences:
    """Options by caller, of the last that changed any."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._changed: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, caller: str) -> dict[str, Any]:
        """What a caller's calls go by."""
        with self._lock:
            changed = dict(self._changed.get(caller, {}))
        return {MODEL: next(iter(self._service.models)), **_CHANGEABLE, **changed}

    def shown(self, caller: str) -> dict[str, Any]:
        """A caller's options as A1111 shows them."""
        own = self.of(caller)
        name = own[MODEL]
        model = self._service.models[name]
        fixed = {key: values[0] for key, values in _FIXED.items()}
        own[MODEL] = title(name, model)
        return {**own, "sd_checkpoint_hash": model_hash(model), **fixed, "overpaint_version": __version__}

    def change(self, caller: str, wanted: Mapping[str, Any]) -> None:
        """Change options for a caller; raises `InputError` for one that there is not, or not with that value."""
        shown = self.shown(caller)
        given = {key: value for key, value in wanted.items() if key not in shown or shown[key] != value}
        changes, notes = self.checked(given)
        if notes:
            raise InputError(f"{notes[0]}; see /sdapi/v1/options for those that there are", next(iter(given)))
        with self._lock:
            self._changed[caller] = {**self._changed.get(caller, {}), **changes}
            self._changed.move_to_end(caller)
            while len(self._changed) > MAX_CALLERS:
                self._changed.popitem(last=False)

    def checked(self, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The changes that options ask for, and notes on those that are not known.

        Raises `InputError` for a value that is not served.
        """
        changes, notes = dict[str, Any](), list[str]()
        for key, value in wanted.items():
            if key == MODEL:
                changes[key] = self.model_name(value)
            elif key in _CHANGEABLE:
                changes[key] = _checked(key, value)
            elif key in _FIXED:
                if value not in _FIXED[key]:
                    raise InputError(f"the option {key} is {_FIXED[key][0]!r} here; leave it out", key)
            elif key != "sd_checkpoint_hash":
                notes.append(f"the option {key[:64]} is not known")
        return changes, notes

    def model_name(self, wanted: Any) -> str:
        """The served name of a model that A1111 knows by name, title, file or hash; raises `InputError`."""
        for name, model in self._service.models.items():
            if wanted in _names(name, model):
                return name
        titles = [title(name, model) for name, model in self._service.models.items()]
        raise unknown("checkpoint", str(wanted)[:128], titles, MODEL)


def _names(name: str, model: Model) -> tuple[str, ...]:
    digest = model_hash(model)
    return name, title(name, model), f"{name}.safetensors", f"{name}.ckpt", digest, digest[:10]


def _checked(key: str, value: Any) -> Any:
    if key in (NOISE, FORMAT):
        known = SOURCES if key == NOISE else FORMATS
        if not isinstance(value, str) or value not in known:
            raise unknown(key, str(value)[:64], known, key)
        return value
    least, most = {CLIP_SKIP: (1, 12), QUALITY: (1, 100), DELTA: (-(2**63), 2**63)}[key]
    whole = isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()
    if not whole or not least <= value <= most:
        raise InputError(f"the option {key} is a whole number from {least} to {most}, not {str(value)[:64]}", key)
    return int(value)
