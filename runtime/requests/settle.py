"""A request with the model's own values where its user gives none."""

from __future__ import annotations

from dataclasses import asdict, replace

from ...bundles.facts import Defaults
from .defaults import values
from .request import Request


def settled(request: Request, own: Defaults) -> Request:
    """The request with numbers for steps, guidance and strength."""
    given = {name: getattr(request, name) for name in asdict(own)}
    made = values(given, own)
    return request if made == given else replace(request, **made)
