"""The command that serves models over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..common import extra

_MARK = "setting_"


def serve(config: Path | None, check: bool, probe: bool, **flags: str | None) -> int:
    """Serve models over HTTP: jobs of many users share the model's calls, step by step.

    Settings come from a TOML file, from environment variables such as OVERPAINT_SERVE_PORT, and from these options, of
    which later ones win.
    """
    from ...runtime.model.load import read_facts
    from ...serving.adapters import adapter_lines
    from ...serving.settings import read_settings

    given = {name.removeprefix(_MARK): text for name, text in flags.items() if text is not None}
    settings = read_settings(config, flags=given)
    if check:
        for name, path in settings.named_models().items():
            read_facts(path)
            print(f"model {name}: {path}")
        for line in adapter_lines(settings):
            print(line)
        print(settings.table())
        return 0
    if probe:
        from ...serving.probe import probe as ask

        if cause := ask(settings):
            print(cause, file=sys.stderr)
        return int(bool(cause))
    with extra("serve"):
        from ...serving.server import run
        from ...serving.supervisor import Supervisor
    if settings.traces:
        with extra("telemetry"):
            from ...serving.traces import Traces  # noqa: F401 - said before models are loaded
    if settings.supervise:
        return Supervisor(settings, _worker(config, given)).run()
    run(settings)
    return 0


def _worker(config: Path | None, flags: dict[str, str]) -> list[str]:
    """The command of what a supervisor starts: the same, without another supervisor."""
    words = [sys.executable, "-m", "overpaint", "serve", *(("--config", str(config)) if config else ())]
    return words + [f"--{name.replace('_', '-')}={text}" for name, text in {**flags, "supervise": "false"}.items()]


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    from ...serving.settings import ROWS

    parser = commands.add_parser("serve", help="serve models over HTTP", description=serve.__doc__)
    parser.set_defaults(command=serve)
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, by the names of these options")
    parser.add_argument("--check", action="store_true", help="check the settings, print them, and serve nothing")
    parser.add_argument("--probe", action="store_true", help="ask the server of these settings whether it is well")
    for name, row in ROWS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=f"{_MARK}{name}",
            metavar=row.metadata["kind"].upper(),
            nargs="?" if row.metadata["alone"] else None,
            const=row.metadata["alone"] or None,
            help=f"{row.metadata['help']} ({row.metadata['shown']})",
        )
