"""Workflows over ComfyUI's interface: what is answered, and what clients hear in which order."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from tests.serving.comfy.conftest import Comfy, Json, workflow


def test_a_workflow_is_queued_and_its_history_kept(comfy: Comfy) -> None:
    answer = comfy.post(
        "/prompt", prompt=workflow(), client_id="me", extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}}
    )
    assert set(answer) == {"prompt_id", "number", "node_errors"}
    assert answer["node_errors"] == {}
    entry = comfy.ended(answer["prompt_id"])
    assert entry["status"]["status_str"] == "success"
    assert entry["status"]["completed"] is True
    assert [kind for kind, _ in entry["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    number, id, document, extra, sinks = entry["prompt"]
    assert (number, id, document, sinks) == (answer["number"], answer["prompt_id"], workflow(), ["3"])
    assert extra["client_id"] == "me"
    picture = entry["outputs"]["3"]["images"][0]
    assert comfy.client.get("/api/view", params=picture).headers["content-type"] == "image/png"
    assert list(comfy.get("/api/history", max_items=1)) == [answer["prompt_id"]]
    assert comfy.post("/history", delete=[answer["prompt_id"]]) is None
    assert comfy.get("/history") == {}
    assert comfy.get(f"/history/{answer['prompt_id']}") == {}


def test_messages_come_in_the_recorded_order(comfy: Comfy) -> None:
    with comfy.client.websocket_connect("/ws?clientId=me") as socket:
        first = socket.receive_json()
        assert first == {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"}}
        answer = comfy.post("/prompt", prompt=workflow(), client_id="me")
        heard = listen(socket)
    kinds = [each["type"] for each in heard]
    node = ["progress_state", "executing", *["progress_state", "progress"] * 2]
    assert [kind for kind in kinds if kind != "status"] == [
        "execution_start",
        "execution_cached",
        *[*node, "progress_state"],
        *[*node, "progress_state"],
        *[*node, "executed", "progress_state"],
        "execution_success",
        "executing",
    ]
    assert kinds[-2:] == ["status", "executing"]
    assert heard[-1]["data"] == {"node": None, "prompt_id": answer["prompt_id"]}
    executed = next(each["data"] for each in heard if each["type"] == "executed")
    assert set(executed) == {"node", "display_node", "output", "prompt_id"}
    states = next(each["data"] for each in heard if each["type"] == "progress_state")["nodes"]["1"]
    assert set(states) == {
        "value", "max", "state", "node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id",
    }  # fmt: skip


@pytest.mark.parametrize("metadata", [True, False])
def test_previews_go_to_those_who_say_that_they_read_them(comfy: Comfy, metadata: bool) -> None:
    with comfy.client.websocket_connect("/ws?clientId=me") as socket:
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": metadata}}
        socket.send_json(flags)
        assert socket.receive_json()["type"] == "status"
        assert socket.receive_json()["data"]["supports_preview_metadata"] is True
        comfy.post("/prompt", prompt=workflow(), client_id="me")
        binaries = [each for each in listen(socket) if isinstance(each, bytes)]
    assert len(binaries) == 3
    event, second = struct.unpack(">II", binaries[0][:8])
    if metadata:
        about = json.loads(binaries[0][8 : 8 + second])
        assert (event, about["node_id"], about["image_type"]) == (4, "1", "image/jpeg")
        assert binaries[0][8 + second :].startswith(b"\xff\xd8")
    else:
        assert (event, second) == (1, 1)
        assert binaries[0][8:].startswith(b"\xff\xd8")


def test_others_get_no_binary_messages(comfy: Comfy) -> None:
    with comfy.client.websocket_connect("/ws?clientId=me") as socket:
        comfy.post("/prompt", prompt=workflow(), client_id="me")
        assert not any(isinstance(each, bytes) for each in listen(socket))


def test_a_failure_is_told_and_kept(comfy: Comfy) -> None:
    document = workflow()
    document["2"]["inputs"]["how"] = "badly"
    with comfy.client.websocket_connect("/ws?clientId=me") as socket:
        id = comfy.post("/prompt", prompt=document, client_id="me")["prompt_id"]
        error = next(each for each in listen(socket) if each["type"] == "execution_error")["data"]
    assert (error["node_id"], error["node_type"], error["executed"]) == ("2", "Work", ["1"])
    assert set(error) >= {"exception_message", "exception_type", "traceback", "current_inputs", "timestamp"}
    assert comfy.ended(id)["status"]["status_str"] == "error"
    job = comfy.get(f"/api/jobs/{id}")
    assert job["status"] == "failed"
    assert job["execution_error"]["exception_message"] == "it went badly"


def test_one_client_waits_and_others_run(connect: Callable[..., Comfy]) -> None:
    comfy = connect()
    first, second, other = (comfy.post("/prompt", prompt=workflow(), client_id=name) for name in ("me", "me", "you"))
    runs = comfy.runs()
    comfy.until(lambda: len(runs.order) == 2)
    assert set(runs.order) == {first["prompt_id"], other["prompt_id"]}
    rows = comfy.get("/queue")
    assert [row[1] for row in rows["queue_pending"]] == [second["prompt_id"]]
    assert len(rows["queue_running"]) == 2
    assert comfy.get("/prompt") == {"exec_info": {"queue_remaining": 3}}
    runs.gate.set()
    for each in (first, second, other):
        assert comfy.ended(each["prompt_id"])["status"]["completed"]


def test_an_interrupt_reaches_the_one_that_is_named(connect: Callable[..., Comfy]) -> None:
    comfy = connect()
    mine, other = (comfy.post("/prompt", prompt=workflow(), client_id=name) for name in ("me", "you"))
    comfy.until(lambda: len(comfy.runs().order) == 2)
    with comfy.client.websocket_connect("/ws?clientId=me") as socket:
        socket.receive_json()
        executing = socket.receive_json()
        assert (executing["type"], executing["data"]["node"]) == ("executing", "1")
        comfy.post("/interrupt", prompt_id=mine["prompt_id"])
        assert any(each["type"] == "execution_interrupted" for each in listen(socket))
    entry = comfy.ended(mine["prompt_id"])
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert len(comfy.get("/queue")["queue_running"]) == 1
    comfy.client.post("/api/interrupt")
    assert not comfy.ended(other["prompt_id"])["status"]["completed"]


def test_the_queue_is_changed(connect: Callable[..., Comfy]) -> None:
    comfy = connect(comfy_runs=1)
    first, *waiting = (comfy.post("/prompt", prompt=workflow())["prompt_id"] for _ in range(4))
    comfy.until(lambda: comfy.runs().order == [first])
    front = comfy.post("/prompt", prompt=workflow(), front=True)
    assert front["number"] < 0
    assert [row[1] for row in comfy.get("/queue")["queue_pending"]] == [front["prompt_id"], *waiting]
    comfy.post("/queue", delete=[waiting[0]])
    assert comfy.post(f"/api/jobs/{waiting[1]}/cancel") == {"cancelled": True}
    assert comfy.post(f"/api/jobs/{waiting[1]}/cancel") == {"cancelled": False}
    comfy.post("/queue", clear=True)
    assert comfy.get("/queue")["queue_pending"] == []
    assert comfy.post("/api/jobs/cancel", job_ids=[first]) == {"cancelled": True}
    assert comfy.ended(first)["status"]["status_str"] == "error"


def test_jobs_are_listed(comfy: Comfy) -> None:
    ids = []
    for _ in range(3):
        ids.append(comfy.post("/prompt", prompt=workflow())["prompt_id"])
        comfy.ended(ids[-1])
    page = comfy.get("/api/jobs", status="completed", limit=2, sort_order="asc")
    assert [job["id"] for job in page["jobs"]] == ids[:2]
    assert page["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
    job = page["jobs"][0]
    assert job["preview_output"]["mediaType"] == "images"
    assert job["execution_end_time"] >= job["execution_start_time"]
    assert comfy.get("/api/jobs", status="in_progress,pending")["jobs"] == []
    assert comfy.get(f"/api/jobs/{ids[0]}")["workflow"]["prompt"] == workflow()
    assert comfy.get("/api/jobs/none", 404) == {"error": "Job not found"}
    for query in ({"status": "odd"}, {"limit": 0}, {"sort_by": "odd"}, {"offset": "x"}):
        assert set(comfy.get("/api/jobs", 400, **query)) == {"error"}
    assert set(comfy.post("/api/jobs/odd/cancel", 400)) == {"error"}


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({}, "no_prompt"),
        ({"prompt": {"1": {"class_type": "Odd", "inputs": {}}}}, "missing_node_type"),
        ({"prompt": {"1": {"class_type": "Begin", "inputs": {"value": 1}}}}, "prompt_no_outputs"),
        ({"prompt": workflow(value=99)}, "prompt_outputs_failed_validation"),
        ({"prompt": workflow(), "prompt_id": "ABC"}, "invalid_prompt_id"),
        ({"prompt": "text"}, "invalid_input"),
    ],
)
def test_what_cannot_run_is_refused(comfy: Comfy, document: Json, kind: str) -> None:
    answer = comfy.post("/prompt", 400, **document)
    assert answer["error"]["type"] == kind
    assert set(answer["error"]) == {"type", "message", "details", "extra_info"}
    if kind == "prompt_outputs_failed_validation":
        assert answer["node_errors"]["1"]["errors"][0]["type"] == "value_bigger_than_max"
        assert answer["node_errors"]["1"]["dependent_outputs"] == ["3"]


def test_an_id_of_the_clients_is_kept_and_secrets_are_not(comfy: Comfy) -> None:
    id = str(uuid.uuid4())
    answer = comfy.post("/prompt", prompt=workflow(), prompt_id=id, extra_data={"api_key_comfy_org": "secret"})
    assert answer["prompt_id"] == id
    assert "secret" not in json.dumps(comfy.ended(id))
    assert comfy.post("/prompt", 400, prompt=workflow(), prompt_id=id)["error"]["type"] == "invalid_prompt_id"


def test_owners_do_not_see_each_other(connect: Callable[..., Comfy]) -> None:
    keys = ("a-long-secret", "another-secret")
    comfy = connect(api_keys=keys)
    assert comfy.client.get("/queue").status_code == 401
    assert comfy.client.get("/queue").headers["www-authenticate"].startswith("Basic")
    with pytest.raises(WebSocketDisconnect), comfy.client.websocket_connect("/ws"):
        pass
    mine, yours = ({"authorization": f"Bearer {key}"} for key in keys)
    id = comfy.client.post("/prompt", json={"prompt": workflow()}, headers=mine).json()["prompt_id"]
    assert len(comfy.client.get("/queue", headers=mine).json()["queue_running"]) + 1 >= 1
    assert comfy.client.get("/queue", headers=yours).json() == {"queue_running": [], "queue_pending": []}
    comfy.client.post("/interrupt", headers=yours, json={"prompt_id": id})
    assert comfy.client.get(f"/history/{id}", headers=yours).json() == {}
    with comfy.client.websocket_connect("/ws?clientId=me", headers=yours) as socket:
        assert socket.receive_json()["data"]["sid"] == "me"
    with comfy.client.websocket_connect("/ws", headers=yours) as socket:
        assert len(socket.receive_json()["data"]["sid"]) == 32


def test_pages_of_other_origins_are_refused(comfy: Comfy) -> None:
    assert comfy.client.get("/queue", headers={"origin": "http://elsewhere"}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        comfy.client.websocket_connect("/ws", headers={"origin": "http://elsewhere"}),
    ):
        pass
    assert comfy.client.get("/queue", headers={"host": "elsewhere"}).status_code == 421


def listen(socket: Any) -> list[Any]:
    """All messages until nothing runs any more."""
    heard: list[Any] = []
    while True:
        message = socket.receive()
        heard.append(message["bytes"] if message.get("bytes") is not None else json.loads(message["text"]))
        last = heard[-1]
        if isinstance(last, dict) and last["type"] == "executing" and last["data"]["node"] is None:
            return heard
