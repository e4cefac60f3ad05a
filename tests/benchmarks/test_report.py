"""Benchmarks write their sections into the pages of results/, and the summary leads to each."""

import re
from pathlib import Path

import pytest

from benchmarks import report

SUMMARY = report.RESULTS.parent / "RESULTS.md"
PAGES = sorted(report.RESULTS.glob("*.md"))


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings: lower case, without punctuation, a dash a space."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def test_a_new_section_goes_to_the_end_of_its_page(results: Path) -> None:
    (results / "cpu.md").write_text("# CPU\n\nOf the hand.\n")
    report.publish("cpu", "steps", "Steps", "body", "numpy", write=True)
    text = (results / "cpu.md").read_text()
    assert text.startswith("# CPU\n\nOf the hand.\n\n<!-- steps -->\n## Steps\n\nbody\n\n`python -m benchmarks.")
    assert text.endswith("<!-- /steps -->\n")


def test_a_section_is_replaced_where_it_stands(results: Path) -> None:
    (results / "cpu.md").write_text("# CPU\n")
    moved = "# AMX\n\n<!-- steps -->\nold\n<!-- /steps -->\n\nOf the hand.\n"
    (results / "amx.md").write_text(moved)
    report.publish("cpu", "steps", "Steps", "new", "numpy", write=True)
    assert (results / "cpu.md").read_text() == "# CPU\n"
    text = (results / "amx.md").read_text()
    assert "old" not in text
    assert text.startswith("# AMX\n\n<!-- steps -->\n## Steps\n\nnew\n")
    assert text.endswith("<!-- /steps -->\n\nOf the hand.\n")


def test_nothing_is_written_unasked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.publish("cpu", "steps", "Steps", "body", "numpy", write=False)
    assert "## Steps" in capsys.readouterr().out
    assert list(results.iterdir()) == []


def test_a_plot_is_linked_from_its_page(results: Path) -> None:
    assert report.figure("bars", results / "bars.png") == "![bars](bars.png)"
    assert report.figure("bars", results.parent / "bars.png") == "![bars](../bars.png)"


def test_the_summary_leads_to_every_page_and_to_sections_that_exist() -> None:
    links = re.findall(r"\]\((results/[^)#]+)(?:#([^)]*))?\)", SUMMARY.read_text(encoding="utf-8"))
    assert {SUMMARY.parent / path for path, _ in links} == set(PAGES)
    assert [link for link in links if link[1] and link[1] not in anchors(SUMMARY.parent / link[0])] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sections_are_closed_and_their_plots_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^<!-- ([^/].*) -->$", text, flags=re.M) == re.findall(r"^<!-- /(.*) -->$", text, flags=re.M)
    assert [plot for plot in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text) if not (page.parent / plot).exists()] == []
