"""Image prompts on the command line."""

import argparse

import pytest

from overpaint.cli.image_prompts import image_prompt
from tests.support.examples import EXAMPLES


def test_a_file_has_a_weight_and_more() -> None:
    plain, full = image_prompt(str(EXAMPLES[0])), image_prompt(f"{EXAMPLES[0]}:0.8,start=0.1,end=0.5,blocks=style")
    assert (plain.weight, plain.blocks, plain.image.path) == (1.0, "all", str(EXAMPLES[0]))
    assert (full.weight, full.start, full.end, full.blocks) == (0.8, 0.1, 0.5, "style")
    assert image_prompt(f"{EXAMPLES[0]},blocks=0/0.5/1").blocks == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("more", "cause"),
    [(":4", "from 0"), (":nan", "from 0"), (",wieght=1", "write FILE"), (",start=x", "no number"), ("x", "no such")],
)
def test_what_cannot_be_used_is_an_error_of_the_option(more: str, cause: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=cause):
        image_prompt(f"{EXAMPLES[0]}{more}")
