"""Documents of any kind: what cannot be used is refused by name, and nothing is this program's fault."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from overpaint.serving.app import create_app
from overpaint.serving.fields import FIELDS, options_of
from overpaint.serving.orders import VERBS
from tests.serving.conftest import png, text
from tests.serving.test_api import Serve

SMALL = text(png(np.zeros((16, 16, 3), np.uint8)))
MASK = text(png(np.full((16, 16), 255, np.uint8)))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.floats(-2, 3, allow_nan=False)
    | st.sampled_from(
        [2**64, -(2**70), 1e308, "", "a", "euler_a", "\ud800", "\0", "[a:b", "ddim", SMALL, MASK, "karras"]
    )
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["mask", "prompt", "strength", "seed"]), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = sorted(
    {name for verb in VERBS for name in options_of(verb)}
    | FIELDS.keys() - {"verb", "model", "image"}
    | {"\ud800", "x" * 5000, ""}
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    verb = draw(st.sampled_from(sorted(VERBS)))
    usual: dict[str, dict[str, Any]] = {
        "inpaint": {"mask": MASK},
        "grid": {"axes": {"seed": [1, 2]}},
        "outpaint": {"left": 8},
    }
    made: dict[str, Any] = {
        "verb": verb,
        "image": SMALL,
        "steps": 2,
        "strength": 0.5,
        "timeout": 2.0,
        **usual.get(verb, {}),
    }
    return {**made, **draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))}


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return TestClient(create_app(serve(max_images=4)), raise_server_exceptions=False)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents())
def test_no_document_is_answered_by_a_fault(client: TestClient, document: dict[str, Any]) -> None:
    response = client.post("/v1/jobs?wait=true", content=json.dumps(document))
    assert response.status_code in (200, 400, 504), (response.status_code, response.text[:500])
    if response.status_code == 400:
        assert response.json()["error"]["message"]
