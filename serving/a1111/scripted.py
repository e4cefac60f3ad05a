"""A1111's scripts as orders: upscales in tiles, loops, and plots."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import InputError
from ...runtime.model.model import Model
from ...runtime.model.upscaler import Upscaler
from ...runtime.sampling.passes import loopback
from ...runtime.tools.enlarge import enlarged_size
from ..orders import Order, Tool
from ..service import Service
from .lists import LANCZOS, NEAREST, NONE, upscaler_name
from .loops import loops, one
from .options import Reading, Size
from .pictures import check_pixels, resized
from .plot import NOTHING, Looks, Plot, axis_of, axis_values
from .scripts import BANDS, LOOPBACK, PLOT, SD_UPSCALE, ULTIMATE

SEAM_FIXES = dict(zip(BANDS, ("none", "bands", "half_tile", "half_tile_intersections"), strict=True))
_PLAIN = {"grid margins": 0, "draw legend": True}
_BATCHED = "n_iter and batch_size are 1 with this script; send a call for each picture"


@dataclass
class Scripted:
    """An order changed by a script; raises `InputError` for what is not served."""

    service: Service
    reading: Reading
    tab: str

    def order(self, name: str, base: Order, arguments: Mapping[str, Any]) -> Order:
        """The order of a script that the call chooses, with its arguments by label."""
        make = {SD_UPSCALE: self._sd_upscale, ULTIMATE: self._ultimate, LOOPBACK: self._loopback, PLOT: self._plot}
        return make[name](base, arguments)

    def _sd_upscale(self, base: Order, arguments: Mapping[str, Any]) -> Order:
        call = self.reading.call
        name = upscaler_name(self.service, arguments["upscaler"], "script_args")
        scale = 1.0 if name == NONE else arguments["scale factor"]
        tile = min(call["width"], call["height"])
        self.reading.notes.append(
            "SD upscale: its tiles are seen at every step and joined in latents, where A1111 paints one after the other"
        )
        return self._upscale(base, name, scale, {"method": "joint", "tile": tile, "overlap": arguments["overlap"]})

    def _ultimate(self, base: Order, arguments: Mapping[str, Any]) -> Order:
        tile, high = arguments["tile width"], arguments["tile height"]
        if high not in (0, tile):
            raise InputError("Ultimate SD upscale: tiles are squares here; leave tile_height 0", "script_args")
        if arguments["redraw mode"] == "None":
            raise InputError(
                "Ultimate SD upscale: redraw mode None is not served; choose Linear or Chess", "script_args"
            )
        fix = SEAM_FIXES[arguments["seams fix type"]]
        options: dict[str, Any] = {
            "method": "tiles",
            "tile": tile,
            "mask_blur": float(arguments["mask blur"]),
            "padding": arguments["padding"],
            "order": arguments["redraw mode"].lower(),
            "seam_fix": fix,
        }
        if fix != "none":
            options |= {
                "seam_fix_strength": arguments["seams fix denoise"],
                "seam_fix_padding": arguments["seams fix padding"],
                "seam_fix_blur": float(arguments["seams fix mask blur"]),
            }
        if fix == "bands":
            options["seam_fix_width"] = arguments["seams fix width"]
        name = upscaler_name(self.service, arguments["upscaler"], "script_args")
        return self._upscale(base, LANCZOS if name == NONE else name, self._target(base, arguments), options)

    def _target(self, base: Order, arguments: Mapping[str, Any]) -> Size:
        """The size that "Ultimate SD upscale" makes."""
        match arguments["target size type"]:
            case "Custom size":
                return arguments["custom width"], arguments["custom height"]
            case "Scale from image size":
                picture = one(base)
                width, height = (math.ceil(side * arguments["custom scale"] / 64) * 64 for side in picture.size)
                return width, height
        return self.reading.size

    def _upscale(self, base: Order, name: str, target: Size | float, options: Mapping[str, Any]) -> Order:
        """An upscale to a size, or by a factor."""
        if self.reading.call["n_iter"] > 1:
            raise InputError(_BATCHED, "n_iter")
        picture = one(base)
        if isinstance(target, float):
            if not 1 <= target <= 16:
                raise InputError(f"the scale factor is {target:g}; give 1 to 16", "script_args")
            target = enlarged_size(picture.size, target)
        check_pixels(target, self.service.settings.max_pixels, "script_args")
        scale = target[0] / picture.size[0]
        if name == NEAREST or not 1 <= scale <= 16 or enlarged_size(picture.size, scale) != target:
            if name in self.service.upscalers:
                raise InputError(f"{name} keeps the picture's shape; choose a size of that shape, or {LANCZOS}")
            picture, scale = resized(picture, target, name == NEAREST), 1.0
        kept = {key: value for key, value in base.options.items() if key not in ("n", "size", "resize_mode", "noise")}
        if options["method"] == "tiles":
            kept["noise"] = base.options["noise"]
        return replace(
            base,
            verb="upscale",
            images=(picture,),
            upscaler=name if name in self.service.upscalers else "",
            options={**kept, "scale": scale, **options},
        )

    def _loopback(self, base: Order, arguments: Mapping[str, Any]) -> Order:
        if arguments["append interrogated prompt"] != "None":
            raise InputError("Loopback: prompts are not interrogated here; choose None", "script_args")
        if self.reading.call["batch_size"] > 1:
            self.reading.notes.append("Loopback: batch_size counts as 1, as in A1111; n_iter begins anew")
        first, last = base.options["strength"], arguments["final denoising strength"]
        curve = arguments["denoising strength curve"].lower()
        strengths = loopback(arguments["loops"], first, last, curve)
        one(base)
        options = {**base.options, "n": self.reading.call["n_iter"] * len(strengths)}
        return replace(
            base, options=options, work=partial(loops, strengths=strengths, count=self.reading.call["n_iter"])
        )

    def _plot(self, base: Order, arguments: Mapping[str, Any]) -> Order:
        if base.verb != "img2img" or base.work is not None:
            raise InputError("X/Y/Z plot: masks and Hires. fix are not served with it; leave them out", "script_name")
        for label in ("include sub grids", "vary seeds for X", "vary seeds for Y", "vary seeds for Z"):
            if arguments[label]:
                raise InputError(f"X/Y/Z plot: {label!r} is not served; leave it out", "script_args")
        if self.reading.count > 1:
            raise InputError(_BATCHED, "n_iter")
        for label in ("grid margins", "draw legend"):
            if arguments[label] != _PLAIN[label]:
                self.reading.notes.append(f"X/Y/Z plot: {label} is as the server draws it")
        axes: dict[str, tuple[Any, ...]] = {}
        for axis in "XYZ":
            name = axis_of(arguments[f"{axis} type"], self.tab)
            if name != NOTHING:
                own = arguments[f"{axis} values"], arguments[f"{axis} values of a list"]
                field, values = axis_values(name, *own, fixed=True)
                axes[field] = values
        if not axes:
            raise InputError("X/Y/Z plot: choose an axis at least", "script_args")
        looks = Looks(max(self.reading.size), arguments["include sub images"])
        options = {key: value for key, value in base.options.items() if key != "n"}
        if "variation_strength" in axes:
            options["variation_seed"] = self.reading.call["subseed"]
        return replace(base, verb="grid", axes=axes, options=options, work=partial(_plotted, looks=looks))


def _plotted(order: Order, model: Model, upscaler: Upscaler | None, looks: Looks) -> Tool:
    picture = model.read(order.images[0])
    work = Plot(model, picture, str(order.prompt), order.axes, order.options, looks)
    return Tool(work, work.made, work.so_far)
