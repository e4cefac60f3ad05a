"""The LoRAs that requests can name: files of folders, read and fitted when they are first used."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from ....errors import InputError, unknown
from ....loras.file import SUFFIX, LoraFile, read_lora
from ....loras.weights import LoraUse
from .fit import CheckedLora, Fitted

# LoRAs that are kept as they were read, and fitted.
_MOST_KEPT = 16
_LENGTH, _MOST_HEADER = 8, 100 * 2**20


@dataclass(frozen=True, eq=False)
class UsedLora:
    """A LoRA as a request has it: the use, the file's hashes, and what it adds to each graph; None where nothing."""

    use: LoraUse
    sha256: str
    short_hash: str
    denoiser: Fitted | None
    encoders: tuple[Fitted | None, ...]


class Layers(Protocol):
    """The layers of a bundle that LoRAs change."""

    def check(self, file: LoraFile, lora_partial: bool) -> CheckedLora:
        """A LoRA's file, checked; raises `InputError` for one that does not fit, see `fit.check_lora`."""
        ...


class LoraLibrary:
    """LoRAs by the names of their files without the ending, as A1111 has them.

    `layers` are those of the bundle, None where it was exported without: then any use is refused. With `partial` those
    tensors of a file are left out that belong to no layer. Threads may share it.
    """

    def __init__(self, layers: Layers | None, partial: bool = False) -> None:
        self._layers = layers
        self._partial = partial
        self._places: list[Path] = []
        self._paths: dict[str, Path] = {}
        self._read: OrderedDict[str, tuple[tuple[Path, int, int], CheckedLora]] = OrderedDict()
        self._fitted: OrderedDict[tuple[str, str], UsedLora] = OrderedDict()
        self._lock = Lock()

    @property
    def paths(self) -> Mapping[str, Path]:
        """The files by name."""
        return dict(self._paths)

    @property
    def places(self) -> list[str]:
        """The folders and files that were added."""
        return list(map(str, self._places))

    def add(self, places: Iterable[str | Path]) -> None:
        """Have requests name a LoRA's file, or all those of a folder and the folders in it.

        Raises `InputError` for a place that is not there, and for what is no .safetensors file.
        """
        for place in map(Path, places):
            if not place.exists():
                raise InputError(f"{place}: is not there; name a LoRA's .safetensors or a folder of them", "loras")
            if not place.is_dir() and place.suffix.lower() != SUFFIX:
                read_lora(place)  # which says what it is
                raise InputError(f"{place}: is neither a folder nor a .safetensors file; name a LoRA's", "loras")
            self._places.append(place)
        self.refresh()

    def refresh(self) -> None:
        """Look for files in the folders again."""
        found: dict[str, Path] = {}
        for place in self._places:
            files = sorted(place.rglob(f"*{SUFFIX}")) if place.is_dir() else [place]
            for path in files:
                found.setdefault(path.stem, path)
        self._paths = found

    def use(self, use: LoraUse) -> UsedLora | None:
        """A LoRA as a request uses it; None where it counts nothing.

        Raises `InputError` for a name that is not there, a bundle that takes no LoRAs, and as `check_lora`.
        """
        path = self._paths.get(use.name)
        if path is None:
            raise self._missing(use)
        if self._layers is None:
            raise InputError(
                f"this bundle takes no LoRAs, as {use.name!r} is; export its checkpoint again with --lora, or have "
                "LoRAs merged into its weights (lora_mode 'merged')",
                "loras",
            )
        if not use.text * use.base and not use.unet:
            return None
        with self._lock:
            lora = self._checked(use.name, path, self._layers)
            key = lora.file.sha256, use.blocks
            if key not in self._fitted:
                self._fitted[key] = UsedLora(use, lora.file.sha256, lora.file.short_hash, *lora.fit(use))
            self._fitted.move_to_end(key)
            fitted = self._fitted[key]
            while len(self._fitted) > _MOST_KEPT:
                self._fitted.popitem(last=False)
        return UsedLora(use, fitted.sha256, fitted.short_hash, fitted.denoiser, fitted.encoders)

    def hashes(self, uses: Iterable[LoraUse]) -> dict[str, str]:
        """The SHA-256 of the files that count, by name; raises as `use`."""
        used = (self.use(use) for use in uses)
        return {each.use.name: each.sha256 for each in used if each is not None}

    def _missing(self, use: LoraUse) -> InputError:
        if self._paths:
            return unknown("LoRA", use.name, self._paths, "loras")
        cause = "the folders of LoRAs hold none" if self._places else "no folder of them is named"
        advice = "name one that does" if self._places else "name one"
        return InputError(
            f"there is no LoRA {use.name!r}: {cause}; {advice} where the model is loaded (loras, or --loras DIR)",
            "loras",
        )

    def _checked(self, name: str, path: Path, layers: Layers) -> CheckedLora:
        try:
            status = path.stat()
        except OSError as exc:
            raise InputError(f"{path.name}: cannot be read ({exc.strerror}); put it back", "loras") from exc
        changed = path, status.st_mtime_ns, status.st_size
        if name not in self._read or self._read[name][0] != changed:
            self._read[name] = changed, layers.check(read_lora(path), self._partial)
        self._read.move_to_end(name)
        while len(self._read) > _MOST_KEPT:
            self._read.popitem(last=False)
        return self._read[name][1]


def read_metadata(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself, without reading its tensors; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            length = min(int.from_bytes(stream.read(_LENGTH), "little"), _MOST_HEADER)
            header = json.loads(stream.read(length))
        return {str(key): str(value) for key, value in (header.get("__metadata__") or {}).items()}
    except (OSError, ValueError, AttributeError):
        return {}
