"""docs/workflows.md lists the nodes that there are."""

from tests.workflow.listing import PAGE, with_listing


def test_the_page_lists_all_nodes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_listing(page)
