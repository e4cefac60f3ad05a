"""The import rules of the design, and that the runtime stays lean."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import overpaint

ROOT = Path(overpaint.__file__).parent
STDLIB = sys.stdlib_module_names
# Who may import whom: the package's own parts by first name, then other libraries.
RULES = {
    "bundles": ({"bundles", "errors"}, {"numpy", "filelock"}),
    "engines": ({"engines", "bundles", "errors"}, {"numpy", "cupy", "onnxruntime", "openvino"}),
    "runtime": (
        {"runtime", "engines", "bundles", "errors", "version"},
        {"numpy", "PIL", "ftfy", "safetensors", "tokenizers"},
    ),
    "export": (
        {"export", "engines", "bundles", "errors", "version"},
        {
            "numpy",
            "torch",
            "diffusers",
            "nncf",
            "transformers",
            "onnx",
            "onnxscript",
            "onnx_ir",
            "onnxruntime",
            "safetensors",
            "tokenizers",
            "tqdm",
        },
    ),
    "models": (set(), set()),
}
BACKEND_LIBRARIES = {
    "cupy": "engines/arrays.py",
    "onnxruntime": "engines/ort/session.py",
    "openvino": "engines/openvino/library.py",
}
FILES = [path for part in RULES for path in sorted((ROOT / part).rglob("*.py"))]


def imports(path: Path) -> tuple[set[str], set[str]]:
    """The package's own parts and the other libraries that a file imports, at any depth of the code."""
    own, others = set(), set()
    here = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            own |= {(*base, *name.split("."))[0] for name in names if base or name != "__version__"}
    return own, others - STDLIB


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_part_may(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0]
    may_own, may_other = RULES[part]
    own, others = imports(path)
    assert own <= may_own
    assert others <= may_other


def files_of(path: Path) -> set[Path]:
    """The package's own files that a file imports, at any depth of the code."""
    files = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            files |= {base / f"{alias.name}.py" for alias in node.names} | {base.with_suffix(".py")}
    return {file for file in files if file.is_file()}


def test_no_files_below_the_runtime_import_one_another_in_circles() -> None:
    below = [path for path in FILES if path.relative_to(ROOT).parts[0] in ("bundles", "engines", "export")]
    TopologicalSorter({path: files_of(path) for path in below}).prepare()  # raises where there is a circle


@pytest.mark.parametrize(("library", "home"), BACKEND_LIBRARIES.items())
def test_a_backend_library_is_imported_in_one_file_of_the_runtime_side(library: str, home: str) -> None:
    users = [path.relative_to(ROOT).as_posix() for path in FILES if library in imports(path)[1]]
    assert [user for user in users if not user.startswith("export/")] == [home]


def test_nobody_but_the_manifests_reader_knows_what_a_graph_is_called() -> None:
    name = re.compile(r"""["']unet["']""")
    # The exporter names its graphs, and the folders of a checkpoint.
    files = [path for path in FILES if path.relative_to(ROOT).parts[0] != "export"]
    assert [path.name for path in files if name.search(path.read_text(encoding="utf-8"))] == ["format.py"]


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
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        overpaint.nonsense  # noqa: B018


def test_no_test_takes_what_lies_in_the_examples_folder() -> None:
    globs = re.compile(r"""(EXAMPLES|examples["')]*)\W*(r?glob|iterdir)\(|read_pictures\((MODELS|EXAMPLES)""")
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    # README's test compares the folder with itself: nothing may be written there.
    assert [path.name for path, text in texts.items() if path.name != "test_readme.py" and globs.search(text)] == []
