"""`overpaint` whose fake engine does what a file says: `python -m tests.support.faulty_server FILE serve ...`.

Of the file's text, "hang" makes the denoiser's next call sleep, "hold" has it keep Python's lock, and "sleep S" makes
each take so many seconds more.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

from overpaint.cli import main
from overpaint.serving import service
from tests.support.engines import Counting


def _faulty(switch: Path, load: Any) -> Any:
    def before(feeds: Any) -> None:
        match switch.read_text().split() if switch.exists() else []:
            case ["hang"]:
                time.sleep(3600)
            case ["hold"]:
                ctypes.PyDLL(None).sleep(3600)
            case ["sleep", seconds]:
                time.sleep(float(seconds))

    def loaded(*arguments: Any, **options: Any) -> Any:
        model = load(*arguments, **options)
        model.stages.denoiser.engine = Counting(model.stages.denoiser.engine, before)
        return model

    return loaded


if __name__ == "__main__":
    changed: Any = service
    changed.load_model = _faulty(Path(sys.argv[1]), service.load_model)
    sys.exit(main(sys.argv[2:]))
