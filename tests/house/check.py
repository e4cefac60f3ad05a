"""What every file of the package imports, and what of that breaks the layers.

Imports inside functions and under TYPE_CHECKING count. What is named by words alone (the backends of
`engines/registry.py`, the choices of the options table, the public names of `__init__.py`) is no import.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.house.layers import BACKEND_LIBRARIES, HEIGHTS, PARTS, Part

ROOT = Path(__file__).resolve().parents[2]
LONG = 250


@dataclass(frozen=True)
class Import:
    """A line of a file that imports something: a file of the package, or another library."""

    file: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


@cache
def files() -> tuple[str, ...]:
    """The package's files, relative to it, but for those that are a docstring alone."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = [ROOT.joinpath(*package.split(".")[1:]) for package in packages]
    paths = [path for folder in folders for path in folder.glob("*.py")]
    return tuple(path.relative_to(ROOT).as_posix() for path in sorted(paths) if len(tree(path).body) > 1)


def long_files() -> Iterator[str]:
    """Files of more than `LONG` lines, with their number: to be parted by idea, unless there is a reason."""
    for file in files():
        if (lines := (ROOT / file).read_text(encoding="utf-8").count("\n")) > LONG:
            yield f"{file} has {lines} lines: over {LONG}, which is a hint and no fault"


def part_of(file: str) -> Part | None:
    """The part that a file belongs to."""
    path = file.removesuffix(".py")
    names = [name for name in PARTS if path == name or path.startswith(f"{name}/")]
    return PARTS[names[0]] if names else None


@cache
def imports(file: str) -> tuple[tuple[Import, ...], tuple[Import, ...]]:
    """What a file imports of the package, and of other libraries."""
    own, others = list[Import](), list[Import]()
    here = (ROOT / file).parent
    for node in ast.walk(tree(ROOT / file)):
        if isinstance(node, ast.Import):
            others += [Import(file, node.lineno, alias.name.partition(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            others.append(Import(file, node.lineno, (node.module or "").partition(".")[0]))
        elif isinstance(node, ast.ImportFrom):
            base = [here, *here.parents][node.level - 1].joinpath(*(node.module or "").split("."))
            own += [Import(file, node.lineno, _file_of(base, alias.name)) for alias in node.names]
    return tuple(own), tuple(each for each in others if each.target not in sys.stdlib_module_names)


def offences() -> Iterator[str]:
    """What breaks the rules, in words."""
    for file in files():
        if part := part_of(file):
            yield from _offences_of(file, part)
        else:
            yield f"{file} is in no layer"
    for part in PARTS.values():
        imported = {each.target for file in files() if part_of(file) is part for each in imports(file)[1]}
        if unused := set(part.libraries.split()) - imported:
            yield f"{part.name} is allowed {', '.join(sorted(unused))}, which it does not import"
    if circle := circle_of_files():
        yield f"a circle: {' -> '.join(circle)}"


def _offences_of(file: str, part: Part) -> Iterator[str]:
    own, others = imports(file)
    for each in own:
        if not _allowed(part, part_of(each.target)):
            yield f"{each}, which {part.name} may not know"
    for each in others:
        if each.target not in part.libraries.split():
            yield f"{each}, no library of {part.name}"
        elif part.name != "export" and (home := BACKEND_LIBRARIES.get(each.target, file)) != file:
            yield f"{each}, which {home} alone does"


def circle_of_files() -> list[str]:
    """Files that import one another in a circle, the first one again at the end; empty where there is none."""
    graph = {file: {each.target for each in imports(file)[0]} for file in files()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        return list(exc.args[1])
    return []


def _allowed(part: Part, other: Part | None) -> bool:
    if other is None or part == other:
        return part == other
    return HEIGHTS[other.name] < HEIGHTS[part.name] and part.name in (other.used_by.split() or [part.name])


def _file_of(base: Path, name: str) -> str:
    """The file that `from base import name` reads: the module of that name, or else the one that has it."""
    tries = (base / f"{name}.py", base / name / "__init__.py", base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in tries if path.is_file()), base).relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
