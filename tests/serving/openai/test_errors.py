"""What goes wrong, as OpenAI's own client raises it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from overpaint.runtime.model.model import Model
from tests.serving.conftest import counting, png
from tests.serving.openai.conftest import client_of

Listen = Callable[..., str]
Slow = Callable[[float], None]
EDIT: dict[str, Any] = {"prompt": "a", "extra_body": {"steps": 4}}
LONG: dict[str, Any] = {"prompt": "a", "extra_body": {"steps": 500, "strength": 1.0}}


@pytest.fixture
def client(listen: Listen) -> openai.OpenAI:
    return client_of(listen())


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"image": [b"a", b"b"]}, "image"),
        ({"image": b"no picture"}, "image"),
        ({"mask": b"no picture"}, "mask"),
        ({"mask": "opaque"}, "mask"),
        ({"mask": "mask", "size": "64x64"}, "size"),
        ({"model": "nonsense"}, "model"),
        ({"model": "../../etc/passwd"}, "model"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"size": "big"}, "size"),
        ({"size": "16384x16384"}, "size"),
        ({"quality": "best"}, "quality"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"partial_images": 1}, "partial_images"),
        ({"response_format": "url", "stream": True}, "response_format"),
        ({"response_format": "file"}, "response_format"),
        ({"extra_body": {"strength": 2}}, "strength"),
        ({"extra_body": {"strenght": 1}}, "strenght"),
        ({"extra_body": {"style": "vivid"}}, "style"),
        ({"extra_body": {"verb": "upscale"}}, "verb"),
        ({"extra_body": {"format": "png"}}, "format"),
        ({"extra_body": {"sampler": "nonsense"}}, "sampler"),
        ({"extra_body": {"stream": "maybe"}}, "stream"),
    ],
)
def test_what_cannot_be_used_is_a_bad_request(
    changes: dict[str, Any], param: str, client: openai.OpenAI, file: bytes, mask_file: bytes
) -> None:
    clear = png(np.zeros((40, 56, 4), np.uint8))
    sent = {"image": file, **EDIT, **changes}
    sent["mask"] = {"opaque": mask_file, "mask": clear}.get(str(sent.get("mask")), sent.get("mask"))
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(**{name: value for name, value in sent.items() if value is not None})
    assert caught.value.param == param
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", "invalid_value")


def test_a_generation_has_no_picture(client: openai.OpenAI) -> None:
    for more in ({"strength": 0.5}, {"denoising_strength": 0.5}, {"image": "aGVsbG8="}, {"size": "0x64"}):
        with pytest.raises(openai.BadRequestError):
            client.images.generate(prompt="a", extra_body=more)


def test_a_call_that_is_no_form_or_has_no_picture_is_said(listen: Listen) -> None:
    address = listen()
    for path, sent in (
        ("edits", {"json": {"prompt": "a"}}),
        ("edits", {"data": {"prompt": "a"}}),
        ("variations", {"json": {}}),
    ):
        answer = httpx.post(f"{address}/v1/images/{path}", **sent)  # type: ignore[arg-type]
        assert answer.status_code == 400
        found = answer.json()["error"]
        assert set(found) == {"message", "type", "param", "code"}
        assert found["param"] == "image"
    wrong = httpx.get(f"{address}/v1/images/edits")
    assert wrong.status_code == 405
    assert wrong.json()["error"]["code"] == "method_not_allowed"


def test_a_full_queue_is_a_rate_limit(listen: Listen, file: bytes, slow: Slow) -> None:
    client = client_of(listen(queue_limit=1))
    slow(0.05)
    with client.images.edit(image=file, stream=True, **LONG), pytest.raises(openai.RateLimitError) as caught:
        client.images.edit(image=file, **EDIT)
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_wrong_key_is_an_authentication_error(listen: Listen, file: bytes) -> None:
    address = listen(api_keys=("the-right-key",))
    for call in (
        lambda client: client.images.edit(image=file, **EDIT),
        lambda client: client.images.generate(**EDIT),
        lambda client: client.models.list(),
    ):
        with pytest.raises(openai.AuthenticationError):
            call(client_of(address, "the-wrong-key"))
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(address, "the-wrong-key").images.edit(image=file, **EDIT)
    assert caught.value.code == "invalid_api_key"
    assert client_of(address, "the-right-key").images.edit(image=file, **EDIT).data


def test_a_late_edit_and_a_failing_one_are_the_servers(listen: Listen, file: bytes, slow: Slow, model: Model) -> None:
    client = client_of(listen())
    slow(0.05)
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.edit(image=file, prompt="a", extra_body={"steps": 500, "strength": 1, "timeout": 0.3})
    assert (caught.value.type, caught.value.code) == ("server_error", "timeout")

    def fail(feeds: Any) -> None:
        raise RuntimeError("secret")

    counting(model.stages.denoiser.engine).before = fail
    with pytest.raises(openai.APIError, match="the server failed") as failed:
        list(client.images.edit(image=file, stream=True, **EDIT))
    assert "secret" not in str(failed.value)
