"""The command that says what is inside a bundle."""

from __future__ import annotations

from typing import Any


def info(bundle: str, engines: bool) -> None:
    """Print what is inside a bundle, every file compared with its hash, or which engines can run it here."""
    from ...bundles.kinds import open_bundle
    from ...engines.select import candidates
    from ...runtime.model.shipped import find_any

    found = open_bundle(find_any(bundle))
    if not engines:
        print(found.describe())
        return
    chosen = False
    for candidate in candidates(found):
        state = candidate.obstacle or ("usable" if chosen else "chosen: the fastest of those that can run here")
        chosen = chosen or not candidate.obstacle
        print(f"{candidate.engine} on {candidate.device}: {state}")


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("info", help="say what is inside a bundle", description=info.__doc__)
    parser.add_argument(
        "bundle",
        help="a bundle's folder, or the name of a bundled one: of a model, a ControlNet, an adapter or an upscaler",
    )
    parser.add_argument("--engines", action="store_true", help="say instead which engines can run it here, and why")
    parser.set_defaults(command=info)
