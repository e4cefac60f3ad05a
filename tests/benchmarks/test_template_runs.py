"""Templates are run with few steps, on bundles that stand for their checkpoints."""

from argparse import Namespace
from pathlib import Path

import pytest

from benchmarks.template_runs import Run, run, shortened
from overpaint.runtime.model.load import find
from overpaint.workflow.document import Workflow, parse
from overpaint.workflow.frontend.read import from_page
from overpaint.workflow.registry import standard
from tests.benchmarks.test_templates import template


@pytest.fixture
def workflow() -> Workflow:
    return from_page(template("v1-5-pruned.safetensors"), standard())


def options(models: Path) -> Namespace:
    return Namespace(models=models, controlnet=models / "controlnet", steps=1, keep=None)


def test_a_template_runs_in_a_process_of_its_own(workflow: Workflow, tmp_path: Path) -> None:
    (tmp_path / "sd15").symlink_to(find("tiny").absolute(), target_is_directory=True)
    made = run("t", workflow, options(tmp_path))
    assert made.row[:4] == ("t", "sd15", "yes", "64 x 64")
    assert made.memory > 0


def test_a_bundle_that_was_not_made_is_named(workflow: Workflow, tmp_path: Path) -> None:
    assert run("t", workflow, options(tmp_path)) == Run("t", "sd15", reason="no bundle `sd15` was made")


def test_parts_of_a_schedule_keep_their_places() -> None:
    inputs = [{"steps": 25, "end_at_step": 20}, {"steps": 25, "start_at_step": 20, "end_at_step": 10000}, {"steps": 9}]
    parts = parse({str(n): {"class_type": "KSamplerAdvanced", "inputs": each} for n, each in enumerate(inputs)})
    five = {"0.steps": 5, "0.end_at_step": 4, "1.steps": 5, "1.start_at_step": 4, "2.steps": 5}
    assert dict(shortened(parts, 5)) == five
    least = {"0.steps": 2, "0.end_at_step": 1, "1.steps": 2, "1.start_at_step": 1, "2.steps": 1}
    assert dict(shortened(parts, 1)) == least
