"""Running workflows: order, laziness, what is kept, events, cancels, errors, several at once."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overpaint.errors import CancelledError, InputError
from overpaint.workflow import document
from overpaint.workflow.bench import Workbench
from overpaint.workflow.context import Context
from overpaint.workflow.events import Event, Failed, Interrupted, NodeDone, NodeStarted, Started
from overpaint.workflow.execute import NodeFailedError, run
from overpaint.workflow.node import node, outputs
from overpaint.workflow.registry import standard
from overpaint.workflow.run import explain, read_workflow
from overpaint.workflow.sockets import integer
from overpaint.workflow.validate import InvalidWorkflowError

CALLS: list[str] = []


@node("Twice", needed={"value": integer()}, outputs=outputs("INT"))
def twice(context: Context, value: int) -> int:
    """Twice."""
    CALLS.append(context.node)
    context.check()
    return 2 * value


@node("Fails", needed={"value": integer()}, outputs=outputs("INT"))
def fails(context: Context, value: int) -> int:
    """Never."""
    raise ValueError("no luck")


NODES = standard([twice, fails])


def graph(**steps: Any) -> document.Workflow:
    return document.parse({id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in steps.items()})


def shown(id: str) -> tuple[str, dict[str, Any]]:
    return "PreviewAny", {"source": [id, 0]}


@pytest.fixture
def empty(tmp_path: Path) -> Workbench:
    CALLS.clear()
    return Workbench({}, folder=tmp_path)


def test_sinks_come_as_early_as_they_can(empty: Workbench) -> None:
    workflow = graph(
        a=("Twice", {"value": 1}), b=("Twice", {"value": ["a", 0]}), c=("Twice", {"value": ["b", 0]}),
        late=shown("c"), early=shown("a"),
    )  # fmt: skip
    outcome = run(workflow, NODES, empty)
    assert outcome.executed == ("a", "early", "b", "c", "late")
    assert outcome.shown["late"] == {"text": ["8"]}


def test_only_what_changed_runs_again(empty: Workbench) -> None:
    workflow = graph(a=("Twice", {"value": 1}), b=("Twice", {"value": ["a", 0]}), s=shown("b"), t=shown("a"))
    run(workflow, NODES, empty)
    events: list[Event] = []
    again = run(workflow, NODES, empty, events.append)
    assert again.executed == ()
    assert [event.node for event in events if isinstance(event, NodeDone) and event.cached] == ["s", "t"]
    longer = graph(
        a=("Twice", {"value": 1}), b=("Twice", {"value": ["a", 0]}), c=("Twice", {"value": ["b", 0]}), s=shown("c")
    )
    outcome = run(longer, NODES, empty, events.append)
    assert outcome.executed == ("c", "s")
    assert outcome.cached == ("b",)


def test_one_branch_of_a_switch_runs(empty: Workbench) -> None:
    workflow = graph(
        yes=("Twice", {"value": 1}), no=("Fails", {"value": 1}), flag=("PrimitiveBoolean", {"value": True}),
        pick=("ComfySwitchNode", {"switch": ["flag", 0], "on_true": ["yes", 0], "on_false": ["no", 0]}),
        s=shown("pick"),
    )  # fmt: skip
    assert run(workflow, NODES, empty).shown["s"] == {"text": ["2"]}
    assert CALLS == ["yes"]


def test_a_failure_names_its_node(empty: Workbench) -> None:
    events: list[Event] = []
    with pytest.raises(NodeFailedError, match=r"node b \(Fails\): no luck"):
        run(
            graph(a=("Twice", {"value": 1}), b=("Fails", {"value": ["a", 0]}), s=shown("b")),
            NODES,
            empty,
            events.append,
        )
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert (failed.node, failed.executed, failed.inputs) == ("b", ("a",), {"value": "2"})


def test_a_cancel_ends_it_between_nodes(empty: Workbench) -> None:
    cancelled, events = threading.Event(), list[Event]()

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, NodeStarted) and event.node == "a":
            cancelled.set()

    with pytest.raises(CancelledError):
        run(graph(a=("Twice", {"value": 1}), s=shown("a")), NODES, empty, listen, cancelled=cancelled)
    assert isinstance(events[-1], Interrupted)


@pytest.mark.parametrize(
    ("steps", "type"),
    [
        ({"a": ("Nothing", {})}, "missing_node_type"),
        ({"a": ("Twice", {"value": 1})}, "prompt_no_outputs"),
        ({"a": ("Twice", {}), "s": ("PreviewAny", {"source": ["a", 0]})}, "required_input_missing"),
        ({"a": ("Twice", {"value": -1}), "s": ("PreviewAny", {"source": ["a", 0]})}, "value_smaller_than_min"),
        ({"a": ("Twice", {"value": "x"}), "s": ("PreviewAny", {"source": ["a", 0]})}, "invalid_input_type"),
        ({"a": ("Twice", {"value": ["a", 0]}), "s": ("PreviewAny", {"source": ["a", 0]})}, "dependency_cycle"),
        ({"a": ("Twice", {"value": ["s", 0]}), "s": ("PreviewAny", {"source": ["a", 0]})}, "bad_linked_input"),
        ({"s": ("PreviewAny", {"source": ["9", 0]})}, "exception_during_inner_validation"),
        ({"a": ("DisableNoise", {}), "b": ("Twice", {"value": ["a", 0]}), "s": shown("b")}, "return_type_mismatch"),
        (
            {"a": ("LoadImage", {"image": "../x.png"}), "s": ("PreviewImage", {"images": ["a", 0]})},
            "custom_validation_failed",
        ),
        ({"a": ("GLIGENLoader", {"gligen_name": "x"}), "s": shown("a")}, "custom_validation_failed"),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_before(empty: Workbench, steps: Any, type: str) -> None:
    with pytest.raises(InvalidWorkflowError) as error:
        run(graph(**steps), NODES, empty)
    types = [each["type"] for one in error.value.node_errors.values() for each in one["errors"]]
    assert type in (*types, error.value.type)
    assert CALLS == []


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ({"a": ("Twicee", {})}, "node a is of the class Twicee, which is unknown; did you mean 'Twice'"),
        ({"a": ("Twice", {"value": 1})}, "Prompt has no outputs; add SaveImage or PreviewImage"),
        ({"s": ("PreviewAny", {"source": ["9", 0]})}, "'9'; source is linked to a node that is not there"),
        (
            {"a": ("Twice", {"value": ["b", 0]}), "b": ("Twice", {"value": ["a", 0]}), "s": shown("b")},
            "node b (Twice): Dependency cycle detected: b -> a -> b",
        ),
        ({"a": ("KSamplerSelect", {"sampler_name": "eulerr"}), "s": shown("a")}, "did you mean 'euler'"),
        (
            {"a": ("LoraLoaderModelOnly", {"lora_name": "x", "strength_model": 1}), "s": shown("a")},
            "not in []; add its file with --lora PATH",
        ),
        ({"a": ("LoadImage", {"image": "x.png"}), "s": shown("a")}, "input; put it there"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(empty: Workbench, steps: Any, text: str) -> None:
    with pytest.raises(InvalidWorkflowError) as error:
        run(graph(**steps), NODES, empty)
    assert text in str(error.value)


def test_sinks_without_problems_run(empty: Workbench) -> None:
    workflow = graph(a=("Twice", {"value": 1}), b=("Twice", {"value": -1}), s=shown("a"), t=shown("b"))
    outcome = run(workflow, NODES, empty)
    assert set(outcome.shown) == {"s"}
    errors = outcome.report.node_errors(workflow)
    assert errors["b"]["dependent_outputs"] == ["t"]


def test_values_are_changed_by_their_paths() -> None:
    workflow = graph(a=("Twice", {"value": 1})).with_values({"a.value": 5})
    assert workflow.steps["a"].inputs == {"value": 5}
    for path in ("b.value", "a.other"):
        with pytest.raises(InputError, match=path):
            workflow.with_values({path: 1})


def test_every_node_is_described(empty: Workbench) -> None:
    info = NODES.info(empty)
    assert len(info) > 120
    assert info["KSampler"]["input"]["required"]["seed"][1]["control_after_generate"] is True
    assert isinstance(info["KSampler"]["input"]["required"]["sampler_name"][0], list)
    for each in info.values():
        assert each["description"]
        assert set(each["input_order"]) == set(each["input"])


def test_a_pictures_file_is_part_of_what_is_kept(folder: Path, bench: Workbench) -> None:
    workflow = graph(a=("LoadImage", {"image": "fox.png"}), s=("PreviewImage", {"images": ["a", 0]}))
    run(workflow, NODES, bench)
    assert run(workflow, NODES, bench).executed == ()
    (folder / "input/fox.png").write_bytes((folder / "input/cat.png").read_bytes())
    assert run(workflow, NODES, bench).executed == ("a", "s")


def test_workflows_share_the_models_calls(bench: Workbench) -> None:
    from tests.support.engines import Counting
    from tests.workflow.conftest import WORKFLOWS

    model = bench.model("tiny")
    counting = Counting(model.stages.denoiser.engine)
    model.stages.denoiser.engine = counting
    try:
        workflow = read_workflow(WORKFLOWS / "img2img.json")
        start = threading.Barrier(3)
        results: list[Any] = []

        def work(seed: int) -> None:
            start.wait()
            results.append(run(workflow.with_values({"6.seed": seed}), NODES, bench))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3)]
        with model.scheduler.exclusive():  # all are in line before the first call
            for thread in threads:
                thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 3
        assert max(counting.rows) > 2
    finally:
        model.stages.denoiser.engine = counting.engine


def test_the_explanation_counts_evaluations(bench: Workbench) -> None:
    from tests.workflow.conftest import WORKFLOWS

    planned = explain(read_workflow(WORKFLOWS / "img2img.json"), NODES, bench)
    assert [(each.node, each.evaluations) for each in planned if each.evaluations] == [("6", 12)]
    assert planned[-1].kind == "SaveImage"


def test_the_first_event_says_what_is_kept(empty: Workbench) -> None:
    events: list[Event] = []
    run(graph(a=("Twice", {"value": 3}), s=shown("a")), NODES, empty, events.append)
    assert events[0] == Started(())
    assert np.all([not isinstance(event, Failed) for event in events])
