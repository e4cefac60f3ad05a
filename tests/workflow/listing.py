"""The list of nodes in docs/workflows.md, made from the registry: `python -m tests.workflow.listing` writes it."""

from itertools import groupby
from pathlib import Path

import overpaint
from overpaint.workflow.registry import standard

PAGE = Path(overpaint.__file__).parent / "docs/workflows.md"
BEGIN, END = "<!-- nodes: python -m tests.workflow.listing -->\n", "<!-- end -->"


def listing() -> str:
    nodes = sorted(standard(), key=lambda node: (node.category == "not served", node.category, node.name))
    lines = []
    for category, members in groupby(nodes, key=lambda node: node.category):
        lines += [f"### {category}", "", "| node | what it does |", "| --- | --- |"]
        lines += [f"| `{node.name}` | {node.description.replace('|', chr(92) + '|')} |" for node in members]
        lines.append("")
    return "\n".join(lines)


def with_listing(page: str) -> str:
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{listing()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_listing(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
