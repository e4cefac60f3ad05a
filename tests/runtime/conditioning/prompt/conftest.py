"""The shipped model's text encoder."""

import pytest

import overpaint
from overpaint.runtime.conditioning.encoders import TextEncoder


@pytest.fixture
def text() -> TextEncoder:
    return overpaint.load("tiny", engine="onnxruntime", verify=False).text
