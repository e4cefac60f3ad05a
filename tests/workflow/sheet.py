"""The contact sheet of the example workflows, docs/workflows.png: `python -m tests.workflow.sheet` writes it."""

import tempfile
from pathlib import Path

from PIL import Image

from overpaint.runtime.imaging.sheet import Row, contact_sheet
from overpaint.runtime.model.shipped import MODELS
from overpaint.workflow.bench import Workbench
from overpaint.workflow.run import run_workflow
from tests.workflow.conftest import WORKFLOWS, fill
from tests.workflow.listing import PAGE

COLUMNS = 5


def pictures(folder: Path) -> list[tuple[str, Image.Image]]:
    """Each example's name, and the picture that it saves."""
    bench = Workbench({"tiny": "tiny"}, folder=fill(folder), loading={"loras": MODELS / "loras", "lora_mode": "merged"})
    names = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
    made = [(name, run_workflow(WORKFLOWS / f"{name}.json", bench).images[-1].convert("RGB")) for name in names]
    bench.close()
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        cells = pictures(Path(made))
    rows = [Row("", cells[place : place + COLUMNS]) for place in range(0, len(cells), COLUMNS)]
    contact_sheet(rows, cell=160).save(PAGE.with_suffix(".png"))
