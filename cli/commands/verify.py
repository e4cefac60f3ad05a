"""The command that compares engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def verify(bundle: str, engines: list[str], precision: str | None, device: str | None) -> None:
    """Compare the engines that can run a bundle here: every graph at several shapes, and a finished picture."""
    from ...bundles.manifest import Bundle
    from ...errors import EngineError
    from ...runtime.diagnostics.verify import verify as run
    from ...runtime.model.load import find

    made = run(Bundle.read(find(bundle)), engines, precision, lambda line: print(line, flush=True), device)
    if failed := sum(not comparison.passed for comparison in made):
        raise EngineError(f"{failed} of {len(made)} comparisons failed; run those graphs on another engine")


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("verify", help="compare engines with one another", description=verify.__doc__)
    parser.add_argument("bundle", help="a bundle's folder, or the name of a bundled one")
    parser.add_argument(
        "--engine", dest="engines", action="append", default=[], metavar="NAME", help="may be repeated (all usable)"
    )
    parser.add_argument("--precision", metavar="NAME", help="float32, bfloat16 or float16 (the engine's fastest)")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda (all that can run here)")
    parser.set_defaults(command=verify)
