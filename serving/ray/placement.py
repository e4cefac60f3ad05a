"""Which replica a call belongs to: the one that has its job, or one where others of its shape are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from ...errors import InputError
from ..a1111.routes import PREFIXES
from ..documents import file_bytes

SEPARATOR = "."
"""Between a replica's name and the rest of a job's id."""

GRAIN = 8
"""Pixels to which sizes are rounded: a latent's side."""

_JOB = re.compile(rf"/v1/jobs/([A-Za-z0-9_-]+){re.escape(SEPARATOR)}")
_SIZE = re.compile(r"[\s\[]*(\d{1,5})\s*[xX,]\s*(\d{1,5})[\s\]]*")


@dataclass(frozen=True)
class Placement:
    """A call's place: the name of its `replica`, or else a `key`, of which equal ones meet; neither: any replica.

    A `firm` key has one replica as long as their number stays; others go elsewhere where that one has much to do.
    """

    replica: str = ""
    key: str = ""
    firm: bool = False


def placement_of(path: str, headers: Mapping[str, str], caller: str) -> Placement | None:
    """The placement of a call that its body does not matter for, None for others.

    `headers` have lower-case names; `caller` is the key that a client brings, or its address.
    """
    if job := _JOB.match(path):
        return Placement(replica=job[1])
    if path.startswith(PREFIXES):  # A1111's calls name no job: all of one caller's meet
        return Placement(key=f"caller {caller}", firm=True)
    if key := headers.get("idempotency-key"):
        return Placement(key=f"repeated {caller} {key}", firm=True)
    return None


def shape_of(document: Mapping[str, Any]) -> Placement:
    """The placement of a document, by its model and the size of its latents, as far as can be seen from outside.

    What cannot be read goes anywhere, and is refused there.
    """
    size = _said(document) or _seen(document.get("image"))
    if size is None:
        return Placement()
    width, height = (-(-side // GRAIN) for side in size)
    return Placement(key=f"{document.get('model') or ''} {width}x{height}")


def ranked(
    placement: Placement, loads: Mapping[str, int], avoided: frozenset[str] = frozenset(), meet: int = 16
) -> Sequence[Sequence[str]]:
    """Replicas to try, the best group first; of a group whichever has the least to do. `loads` are calls by replica.

    Each key has an order of all replicas of its own (rendezvous hashing), so that few keys move when one comes or goes.
    One whose replica has `meet` calls or more goes to the next. `avoided` replicas have refused it before.
    """
    if placement.replica in loads:
        return [[placement.replica]]
    names = [name for name in loads if name not in avoided] or list(loads)
    if not placement.key:
        return [names]
    order = sorted(names, key=lambda name: hashlib.sha256(f"{placement.key}\n{name}".encode()).digest())
    if placement.firm:
        return [order[:1]]
    return [*([name] for name in order if loads[name] < meet), order]


def _said(document: Mapping[str, Any]) -> tuple[int, int] | None:
    """The size that a document names, as a list, as "512x768", or as a list in a form."""
    size = document.get("size")
    if isinstance(size, str) and (found := _SIZE.fullmatch(size)):
        return int(found[1]), int(found[2])
    if isinstance(size, list | tuple) and len(size) == 2 and all(type(side) is int for side in size):
        return int(size[0]), int(size[1])
    return None


def _seen(image: Any) -> tuple[int, int] | None:
    """The size of a picture, of several that of the first, by the head of its file."""
    first = image[0] if isinstance(image, list | tuple) and image else image
    try:
        with Image.open(BytesIO(file_bytes(first, "image"))) as opened:
            return opened.size
    except (InputError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
