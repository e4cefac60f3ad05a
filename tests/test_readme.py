"""The commands and the Python of README.md and its first pages run as they are written, in one folder."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import overpaint
from overpaint.cli import main

ROOT = Path(overpaint.__file__).parent
PAGES = [
    ROOT / "README.md",
    # The bundle that export makes is what the pages after it begin with.
    *(ROOT / f"docs/{name}.md" for name in ("export", "engines", "int8", "strength", "samplers", "prompts", "editing")),
    *(ROOT / f"docs/{name}.md" for name in ("controlnet", "image-prompts")),
    *(ROOT / f"docs/{name}.md" for name in ("command-line", "python", "workflows", "serving", "scale-out")),
]
EXAMPLES = ROOT / "models/examples"

# By how a command begins, why the suite does not run it.
LEFT = {
    "git clone": "needs the network",
    "make demo": "sets up an environment; tests/cli/test_cli.py runs the demo",
    "make test": "is what runs this",
    ". .venv/bin/activate": "is of the shell",
    "pip install": "needs the network",
    "overpaint build out/my-model --engine tensorrt_rtx": "needs TensorRT-RTX, and minutes",
    "cat ": "needs overpaint on the PATH; tests/cli/test_outputs.py runs a pipe",
    "overpaint serve": "runs until it is stopped; tests/serving/test_server.py runs it",
    "curl ": "needs the server; tests/serving/test_server.py runs it",
    "id=$(curl ": "needs the server; tests/serving/test_server.py runs it",
    "serve run": "runs until it is stopped; tests/serving/test_ray.py runs it",
    "tritonserver ": "needs Triton; tests/serving/test_triton.py runs it",
    "python -m venv out/triton-env": "is one of the lines for Triton",
    "out/triton-env/": "needs the network",
    "T=$(": "needs what is installed before",
    "cp ": "needs what is installed before",
    "PATH=": "needs Triton; tests/serving/test_triton.py runs it so",
    '{"error"': "is an answer",
    "overpaint completion": "writes into the home folder; tests/cli/test_words.py runs it",
}
# Shapes of commands, not commands.
SYNOPSIS = re.compile(r"\b(PICTURE|COMMAND|FOLDER)\b")
# What runs with a checkpoint, a photo and prompts of the reader's own: with these of ours in `pytest -m slow`.
OWN = {
    "path/to/stable-diffusion": str(ROOT / "models/tiny-checkpoint"),
    "photo.jpg": str(EXAMPLES / "fox.png"),
    "photos/": str(EXAMPLES),
    "prompts.txt": "out/prompts.txt",
    "gouache.safetensors": "out/gouache.safetensors",
    "out/my-model": "out/my-model",
}
PYTHON_LEFT = {
    'engine="tensorrt_rtx"': "needs a GPU",
    "from ray import serve": "needs Ray; tests/serving/test_ray.py does it",
    "import InferenceServerClient": "needs Triton; tests/serving/test_triton.py does it",
}


def commands(page: Path) -> list[str]:
    """The lines of indented blocks, which are of the shell."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    lines = [line.strip() for line in re.findall(r"^ {4}(\S.*)$", text, flags=re.M)]
    return [line for line in lines if not SYNOPSIS.search(line)]


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)


def cases(own: bool) -> Iterator[Any]:
    """Commands that need something of the reader's own, or the others."""
    for page in PAGES:
        for command in commands(page):
            if any(name in command for name in OWN) is not own:
                continue
            reason = next((why for begin, why in LEFT.items() if command.startswith(begin)), None)
            yield pytest.param(command, id=command, marks=[pytest.mark.skip(reason=reason)] if reason else [])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like the checkout's after `make demo`; nothing may be written beside what is ours."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    before = written(EXAMPLES)
    yield tmp_path
    assert written(EXAMPLES) == before
    assert {path.name for path in tmp_path.iterdir()} == {"models", "out"}


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def run(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "overpaint":
        assert main(words[1:]) == 0
    else:
        subprocess.run(command, shell=True, check=True)


@pytest.mark.parametrize("command", list(cases(own=False)))
def test_a_command_runs_as_written(checkout: Path, command: str) -> None:
    run(command)


@pytest.mark.slow
def test_the_commands_for_a_checkpoint_of_ones_own(checkout: Path) -> None:
    (checkout / "out/prompts.txt").write_text("fox, ink style\ncat, noto style\n")
    save_file({"emb_params": np.ones((1, 128), np.float32)}, checkout / "out/gouache.safetensors")
    for case in cases(own=True):
        if case.marks:
            continue
        command = str(case.values[0])
        for theirs, ours in OWN.items():
            command = command.replace(theirs, ours)
        run(command)


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda page: page.name)
def test_python_runs_as_written(checkout: Path, page: Path) -> None:
    names: dict[str, Any] = {}
    for code in snippets(page):
        if not any(mark in code for mark in PYTHON_LEFT):
            exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("page", [PAGES[0], *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_nothing_is_written_into_the_examples() -> None:
    outputs = [found for page in PAGES for found in re.findall(r"-o (\S+)", page.read_text(encoding="utf-8"))]
    assert [output for output in outputs if output.startswith("models")] == []
    assert "cd models" not in PAGES[0].read_text(encoding="utf-8")


def test_readme_says_how_long_the_tests_take() -> None:
    assert re.search(r"`make test`[^.]*minutes", PAGES[0].read_text(encoding="utf-8"))


def test_every_command_that_is_named_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    (\S+)", capsys.readouterr().out, flags=re.M))
    named = {
        name for page in PAGES for name in re.findall(r"`overpaint ([a-z][a-z0-9-]*)", page.read_text(encoding="utf-8"))
    }
    assert named <= known


def test_no_two_commands_write_the_same_file() -> None:
    pages = [command for page in PAGES for command in commands(page)]
    outputs = [found for command in pages for found in re.findall(r"-o (\S+)", command)]
    assert len(outputs) == len(set(outputs))
    assert not {f"out/{path.name}" for path in EXAMPLES.rglob("*.png")} & set(outputs)
