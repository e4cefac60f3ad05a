"""Who may import whom (`tests/house/layers.py`), and that the runtime stays lean."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import overpaint
import overpaint.errors
from overpaint.runtime.model.queue import PATIENCE
from overpaint.runtime.model.scheduler import MAX_ACTIVE
from overpaint.runtime.model.worker import DRAIN_STEPS
from tests.house import check
from tests.house.check import offences
from tests.house.drawing import drawing

ROOT = Path(overpaint.__file__).parent


def test_every_import_leads_to_a_layer_below_and_no_circle_exists() -> None:
    assert list(offences()) == []


@pytest.mark.parametrize(
    ("file", "code", "offence"),
    [
        ("engines/base.py", "from ..runtime import progress", "runtime/progress.py, which engines may not know"),
        ("runtime/model/stages.py", "def later():\n    from ..tools import grid", "imports runtime/tools/grid.py"),
        ("runtime/imaging/lab.py", "if TYPE_CHECKING:\n    from ..conventions.masks import OURS", "may not know"),
        ("runtime/execution/work.py", "from ...export.bundle import export_bundle", "imports export/bundle.py"),
        ("runtime/sampling/plan.py", "import torch", "imports torch, no library of runtime/sampling"),
        ("engines/ort/cpu.py", "import onnxruntime", "which engines/ort/session.py alone does"),
        ("bundles/tensor.py", "from . import graph", "a circle: bundles/"),
    ],
)
def test_what_breaks_the_house_is_named(file: str, code: str, offence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = check.tree
    changed = {ROOT / file: ast.parse(f"'A docstring.'\n{code}")}
    monkeypatch.setattr(check, "tree", lambda path: changed.get(path) or tree(path))
    check.imports.cache_clear()
    found = list(offences())
    check.imports.cache_clear()
    assert [words for words in found if file in words and offence in words]


def test_a_long_file_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "LONG", 60)
    named = list(check.long_files())
    assert named
    assert all(line.endswith("lines: over 60, which is a hint and no fault") for line in named)


def test_every_folder_of_code_is_installed() -> None:
    tops = {file.partition("/")[0] for file in check.files() if "/" in file}
    code = {path.relative_to(ROOT).as_posix() for top in tops for path in (ROOT / top).rglob("*.py")}
    assert sorted(path for path in code - set(check.files()) if not path.endswith("__init__.py")) == []


def test_the_page_on_the_architecture_draws_the_layers() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    assert f"```text\n{drawing()}\n```" in page, "put what `python -m tests.house` draws into docs/architecture.md"


def test_nobody_but_the_manifests_reader_knows_what_a_graph_is_called() -> None:
    name = re.compile(r"""["']unet["']""")
    # The exporter names its graphs, and the folders of a checkpoint.
    files = [ROOT / file for file in check.files() if not file.startswith("export/")]
    assert [path.name for path in files if name.search(path.read_text(encoding="utf-8"))] == ["format.py"]


def test_the_page_on_the_architecture_has_the_bounds_of_the_code() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for bound in (f"At most {MAX_ACTIVE} are active", f"`PATIENCE` = {PATIENCE}", f"`DRAIN_STEPS` = {DRAIN_STEPS}"):
        assert bound in page


def fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_runtime_brings_in_no_torch() -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'nncf', 'onnx', 'scipy'}"
    parts = (
        "runtime.model.load",
        "runtime.diagnostics.demo",
        "runtime.diagnostics.calibration",
        "engines.ort.cpu",
        "cli",
    )
    modules = ", ".join(f"overpaint.{part}" for part in parts)
    assert fresh(f"import sys, {modules}; print(sorted({heavy} & sys.modules.keys()))") == "[]"


def test_engines_are_built_without_torch() -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'cupy', 'tensorrt', 'tensorrt_rtx'}"
    parts = "overpaint.export.tensorrt, overpaint.engines.tensorrt.rtx"
    assert fresh(f"import sys, {parts}; print(sorted({heavy} & sys.modules.keys()))") == "[]"


def test_importing_the_package_imports_no_numpy() -> None:
    assert fresh("import sys, overpaint, overpaint.cli; print('numpy' in sys.modules)") == "False"


def test_every_public_name_is_there() -> None:
    assert all(getattr(overpaint, name) for name in overpaint.__all__)
    assert {"ClosedError", "OutOfMemoryError", "Model", "Ticket"} <= set(overpaint.__all__)
    errors = {name for name in vars(overpaint.errors) if name.endswith("Error")}
    kinds = {"NoBundleError", "NoEngineError", "NoPlaceError"}  # to be caught by their bases
    assert errors - kinds == {name for name in overpaint.__all__ if name.endswith("Error")}
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        overpaint.nonsense  # noqa: B018


def test_no_test_takes_what_lies_in_the_examples_folder() -> None:
    globs = re.compile(r"""(EXAMPLES|examples["')]*)\W*(r?glob|iterdir)\(|read_pictures\((MODELS|EXAMPLES)""")
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    # README's test compares the folder with itself: nothing may be written there.
    assert [path.name for path, text in texts.items() if path.name != "test_readme.py" and globs.search(text)] == []
