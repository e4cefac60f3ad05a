"""A1111's infotext as options: what made a picture there makes it here, and notes on what cannot be followed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...bundles.graph import DENOISER
from ...bundles.manifest import Bundle
from ...errors import InputError, unknown
from ..conventions.convention import A1111
from ..imaging.infotext import Source, read_infotext
from ..imaging.metadata import split_parameters
from ..imaging.resize import MODES as RESIZE_MODES
from ..requests.expand import ALIASES
from ..requests.option import TOOLS
from ..sampling.names import a1111_eta, find_a1111_sampler, find_sampler, find_schedule
from .control_texts import IMAGE_PROMPT, read_control
from .control_texts import NAME as CONTROLNET
from .infotext_rules import COMMON, MASKED, OF_METHOD, OF_SOME, OF_VERB, SAMPLING, SILENT, ULTIMATE, USUAL, Rule, size

# Samplers for which "Automatic" is no uniform schedule since A1111 1.9, where schedules became an option of their own;
# Restart had its own before.
_AUTOMATIC = frozenset().union(*(samplers for _, samplers in A1111.schedules)) - {"restart"}
_SHOWN = 60


@dataclass(frozen=True)
class Infotext:
    """What an infotext asks for.

    `options` are those of `pipe(...)`, or of another verb of a pipeline, prompts and seed among them. `notes` say, each
    in a line, what is not followed. `model` and `model_hash` are those that made the picture.
    """

    options: Mapping[str, Any]
    notes: tuple[str, ...]
    model: str | None = None
    model_hash: str | None = None

    def unlike(self, bundle: Bundle) -> str | None:
        """A note where another model than the bundle's made the picture; None where it is the same or unknown."""
        own = bundle.by_role(DENOISER).sha256[:10]
        if self.model_hash == own or (self.model_hash is None and self.model in (None, bundle.model.name)):
            return None
        made = " ".join(text for text in (self.model, self.model_hash and f"[{self.model_hash}]") if text)
        return f"the model {_short(made)} made it, this is {bundle.model.name} [{own}]"


def from_infotext(source: Source, verb: str = "img2img", **options: Any) -> Infotext:
    """The options that an infotext asks for, those of A1111's convention among them; `options` win over them.

    `source` is a picture's file or its bytes, with A1111's parameters in PNG text or in EXIF, or a text file; a text of
    several lines is the infotext itself. `verb` is "img2img", "inpaint", "outpaint" or "upscale". A file of overpaint
    keeps its own convention. Raises `InputError` where there is no infotext, and for a sampler, a schedule or a value
    that is not known, with the nearest, unless an option replaces it.

    >>> infotext = overpaint.from_infotext("fox.png", strength=0.4)
    >>> result = pipe("fox-input.png", **infotext.options)
    """
    if verb not in TOOLS:
        raise unknown("verb", str(verb), TOOLS, "verb")
    prompt, negative, pairs = split_parameters(read_infotext(source))
    options = {ALIASES.get(name, name): value for name, value in options.items()}
    reading = _Reading(verb, dict(pairs), options)
    settings = {"prompt": prompt, "negative_prompt": negative, **reading.options(), **options}
    return Infotext(settings, tuple(reading.notes), reading.pairs.get("Model"), reading.pairs.get("Model hash"))


@dataclass
class _Reading:
    """One infotext on its way to options: its `pairs`, the names `given` in other ways, and the `notes` so far."""

    verb: str
    pairs: Mapping[str, str]
    given: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        """All options but the prompts."""
        followed = dict(self._followed())
        if not self._ours:
            followed = {**self._a1111(), **followed}
        if "strength" in self.given or "passes" in self.given:
            for name in ("strength", "passes", "through_pixels", "drift_correction"):
                followed.pop(name, None)
        if self.verb == "upscale":
            self._drop_other_methods(followed)
        if not {"strength", "passes"} & {*followed, *self.given}:
            self.notes.append("it has no denoising strength, as a text-to-image picture; the usual one is taken")
        self.notes += self._left()
        return {name: value for name, value in followed.items() if name not in self.given}

    def _drop_other_methods(self, followed: dict[str, Any]) -> None:
        """Take out what the method of the upscale has not."""
        method = self.given.get("method") or followed.get("method", "joint")
        others = frozenset().union(*OF_METHOD.values()) - OF_METHOD.get(method, frozenset())
        for name in sorted(others & followed.keys()):
            del followed[name]
            self.notes.append(f"{name} is not followed: the method {method!r} has none")

    @property
    def _ours(self) -> bool:
        return self.pairs.get("Version", "").startswith("overpaint")

    def _followed(self) -> Iterator[tuple[str, Any]]:
        for name, (option, convert) in self._rules.items():
            if name in self.pairs and option not in self.given:
                yield option, self._converted(name, convert)
        yield from self._sampling().items()
        yield from self._sized().items()
        if "controls" not in self.given and self._controlnets:
            yield "controls", tuple(self._converted(name, read_control) for name in self._controlnets)
            self.notes.append("its ControlNets follow the picture that is repainted: an infotext has none of their own")

    @property
    def _controlnets(self) -> list[str]:
        """The names of the pairs that each have a ControlNet, in their order."""
        named = (
            name
            for name, text in self.pairs.items()
            if CONTROLNET.fullmatch(name) and "Model: " in text and not text.startswith(IMAGE_PROMPT)
        )
        return sorted(named, key=lambda name: int(name.split()[1]))

    @property
    def _rules(self) -> Mapping[str, Rule]:
        return {**COMMON, **OF_VERB.get(self.verb, {})}

    def _a1111(self) -> dict[str, Any]:
        """What A1111 does where it writes nothing."""
        usual: dict[str, Any] = {"convention": A1111.name, "noise": A1111.noise}
        if self.verb == "inpaint":
            usual |= {"latent_mask": A1111.masks.latent_mask, "ring": A1111.masks.ring}
            if MASKED & self.pairs.keys():
                usual["blur"] = (0.0, 0.0)
        if self.verb == "upscale" and any(name.startswith(ULTIMATE) for name in self.pairs):
            usual["method"] = "tiles"
        return usual

    def _sampling(self) -> dict[str, Any]:
        """Sampler, schedule and eta. As in A1111, a schedule in the sampler's name wins over the schedule type."""
        sampler = carried = None
        if "sampler" not in self.given and "Sampler" in self.pairs:
            sampler, carried = self._converted("Sampler", find_a1111_sampler)
        elif isinstance(self.given.get("sampler"), str):
            sampler, carried = find_sampler(self.given["sampler"])
        found: dict[str, Any] = {"sampler": sampler, "schedule": carried or self._schedule(sampler)}
        eta = a1111_eta(sampler or "")
        if eta in self.pairs and "eta" not in self.given:
            found["eta"] = self._converted(eta, float)
        elif {"Eta", "Eta DDIM"} & self.pairs.keys() - {eta}:
            self.notes.append(f"the eta of another kind of samplers is not followed: {sampler} has {eta!r}")
        return {name: value for name, value in found.items() if value is not None}

    def _schedule(self, sampler: str | None) -> str | None:
        if "schedule" in self.given or (sampler in A1111.by_timesteps and not self._ours):
            return None
        name = next((name for name in ("Schedule name", "Schedule type") if name in self.pairs), None)
        if name is not None:
            schedule: str | None = self._converted(name, find_schedule)
            return schedule
        version = re.match(r"v?1\.(\d+)", self.pairs.get("Version", ""))
        older = version is not None and int(version[1]) < 9 and not self._ours
        return find_schedule("Uniform") if older and sampler in _AUTOMATIC else None

    def _sized(self) -> dict[str, Any]:
        if "Size" not in self.pairs or "size" in self.given or self.verb in ("outpaint", "upscale"):
            return {}
        mode = self.pairs.get("Resize", "none" if self._ours else "stretch")
        if mode not in RESIZE_MODES:
            raise self._unusable("Resize", unknown("resize mode", mode, RESIZE_MODES))
        if mode == "none":
            return {}
        wanted = {"size": self._converted("Size", size)}
        return wanted if self.verb == "inpaint" or "resize_mode" in self.given else {**wanted, "resize_mode": mode}

    def _converted(self, name: str, convert: Callable[[str], Any]) -> Any:
        value = self.pairs[name]
        try:
            return convert(value)
        except InputError as exc:
            raise self._unusable(name, exc) from exc
        except (ValueError, OverflowError) as exc:
            raise self._unusable(name, InputError(f"{_short(value)!r} is no value of it")) from exc

    def _unusable(self, name: str, cause: InputError) -> InputError:
        rule = self._rules.get(name)
        option = rule[0] if rule else SAMPLING.get(name, "controls" if CONTROLNET.fullmatch(name) else "size")
        mend = "; give --sampler to replace it" if option == "sampler" else f" (the option {option} replaces it)"
        return InputError(f"the infotext's {name} cannot be followed: {cause}{mend}")

    def _left(self) -> Iterator[str]:
        """A note on every pair that is not followed."""
        known = {
            *self._rules,
            *SAMPLING,
            *SILENT,
            *self._controlnets,
            *([] if self.verb in ("outpaint", "upscale") else ["Size"]),
        }
        for name, value in self.pairs.items():
            if name in known or (name, value) in USUAL:
                continue
            near = difflib.get_close_matches(name, {*known, *OF_SOME}, n=1, cutoff=0.85)
            hint = f"; did you mean {near[0]!r}?" if near and name not in OF_SOME else ""
            where = f" by {self.verb}" if name in OF_SOME else ""
            yield f"{_short(name)}: {_short(value)} is not followed{where}{hint}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
