"""Engines held against one another."""

import json
from pathlib import Path

import pytest

from overpaint import EngineError, InputError
from overpaint.bundles.manifest import Bundle
from overpaint.cli import main
from overpaint.engines import select
from overpaint.engines.openvino import engine as engine_module
from overpaint.engines.select import Candidate, candidates, fastest
from overpaint.runtime.diagnostics.verify import _chosen, verify
from overpaint.runtime.model.shipped import MODELS


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.read(MODELS / "tiny", verify=False)


def test_every_graph_and_a_picture_pass_and_are_on_the_receipt(bundle: Bundle, built_engines: Path) -> None:
    lines: list[str] = []
    made = verify(bundle, ["openvino"], report=lines.append)
    assert all(comparison.passed for comparison in made)
    assert {comparison.what for comparison in made} == {*bundle.graphs, "picture"}
    assert len(lines) == len(made)
    receipt = json.loads((built_engines / "verified.json").read_text())
    assert len(receipt["comparisons"]) == len(made)


def test_a_wrong_engine_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    right = engine_module.OpenVinoEngine.__call__
    monkeypatch.setattr(
        engine_module.OpenVinoEngine, "__call__", lambda *given: {name: 1.2 * a for name, a in right(*given).items()}
    )
    assert main(["verify", "tiny", "--engine", "openvino"]) == 1
    printed = capsys.readouterr()
    assert "FAILED: the limit is 0.05" in printed.out
    assert "comparisons failed" in printed.err


def test_unknown_engines_and_those_that_cannot_run_here(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'openvino'"):
        verify(bundle, ["openvin"])
    monkeypatch.setattr(
        "overpaint.runtime.diagnostics.verify.candidates", lambda _: [Candidate("openvino", "cpu", "gone")]
    )
    with pytest.raises(EngineError, match="openvino: gone"):
        verify(bundle, ["openvino"])
    with pytest.raises(InputError, match="nothing to compare"):
        verify(bundle)


def test_a_named_engine_is_compared_on_the_devices_that_can_run_here(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, cpu = Candidate("onnxruntime", "cuda", "no driver"), Candidate("onnxruntime", "cpu", None)
    monkeypatch.setattr("overpaint.runtime.diagnostics.verify.candidates", lambda _: [cuda, cpu])
    assert _chosen(bundle, ["onnxruntime"], None) == [cpu]
    with pytest.raises(EngineError, match="onnxruntime: no driver"):
        _chosen(bundle, ["onnxruntime"], "cuda")
    with pytest.raises(InputError, match="unknown device 'cudda'; did you mean 'cuda'"):
        _chosen(bundle, ["onnxruntime"], "cudda")
    usable = Candidate("onnxruntime", "cuda", None)
    monkeypatch.setattr("overpaint.runtime.diagnostics.verify.candidates", lambda _: [usable, cpu])
    assert _chosen(bundle, ["onnxruntime"], None) == [usable]
    assert _chosen(bundle, ["onnxruntime"], "cpu") == [cpu]


def test_the_reference_alone_says_so_and_its_receipt_is_json(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, built_engines: Path
) -> None:
    monkeypatch.setattr(
        "overpaint.runtime.diagnostics.verify.candidates", lambda _: [Candidate("onnxruntime", "cpu", None)]
    )
    lines: list[str] = []
    verify(bundle, ["onnxruntime"], report=lines.append)
    assert lines[0] == "onnxruntime on cpu is the reference: it is compared with itself alone"
    assert "PSNR inf dB" in lines[-1]
    receipt = json.loads((built_engines / "verified.json").read_text(), parse_constant=pytest.fail)
    assert receipt["comparisons"][-1]["measured"] is None
    assert receipt["comparisons"][-1]["passed"]


class TestChoice:
    def test_the_fastest_that_can_run_is_chosen(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(select, "ORDER", (("a", "cuda", (lambda _: "no GPU",)), ("b", "cpu", (lambda _: None,))))
        assert candidates(bundle) == [Candidate("a", "cuda", "no GPU"), Candidate("b", "cpu", None)]
        assert fastest(bundle).engine == "b"

    def test_none_can_run(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(select, "ORDER", (("a", "cuda", (lambda _: "no GPU",)),))
        with pytest.raises(EngineError, match="no engine can run here \\(a on cuda: no GPU\\)"):
            fastest(bundle)

    def test_info_says_which_and_why(self, capsys: pytest.CaptureFixture) -> None:
        assert main(["info", "tiny", "--engines"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum("chosen" in line for line in lines) == 1
        assert len(lines) == len(select.ORDER)
