"""What an export writes, when it appears, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from overpaint.bundles.graph import Range
from overpaint.bundles.manifest import Bundle
from overpaint.engines.compare import worst
from overpaint.errors import BundleError, ExportError, InputError, OutputError
from overpaint.export import bundle as stage
from overpaint.export import export_bundle
from overpaint.export.checkpoints.facts import (
    FLOW_SAMPLERS,
    SAMPLERS,
    default_sampler,
    default_schedule,
    model_facts,
    not_followed,
    schedule_facts,
)
from overpaint.export.checkpoints.load import supported
from overpaint.export.publish import publish, remove_stale
from overpaint.export.verify import compare, reference
from overpaint.runtime.sampling.flow import FlowSchedule, schedule_from_config
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.samplers import SAMPLERS as KNOWN_SAMPLERS
from tests.support.checkpoints import tiny_checkpoint


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may spoil."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_bundle_reads_back_verified(bundle: Bundle) -> None:
    again = Bundle.read(bundle.folder, verify=True)
    assert again == bundle
    assert set(bundle.graphs) == {"text_encoder", "unet", "vae_encoder", "vae_decoder"}
    assert sorted(path.name for path in bundle.folder.parent.iterdir()) == [bundle.folder.name]


def test_receipts(bundle: Bundle) -> None:
    for name, graph in bundle.graphs.items():
        axes = [tuple(check.axes.values()) for check in graph.receipt.checks]
        assert len(set(axes)) == 3, name
        assert {check.axes["rows"] for check in graph.receipt.checks} - {2}, name
        assert all(0 < check.error <= graph.receipt.tolerance == 1e-4 for check in graph.receipt.checks), name
        assert "torch" in graph.receipt.source


def test_no_check_is_at_the_traced_shape(checkpoint: Path) -> None:
    for part in stage.parts(supported(stage.open_checkpoint(checkpoint)), 77):
        assert part.component.traced not in part.component.checked
        for lengths in part.component.checked:
            for axis, length in lengths.items():
                limits = part.component.ranges[axis]
                assert limits.least <= length <= limits.most
                assert length % limits.multiple == 0


def test_graphs_say_nothing_of_the_machine(bundle: Bundle) -> None:
    home = str(Path(torch.__file__).parents[1]).encode()
    for file in bundle.files():
        assert home not in (bundle.folder / file.path).read_bytes()


def test_facts(bundle: Bundle) -> None:
    model = bundle.model
    assert (model.name, model.family) == (bundle.folder.name, "stable-diffusion")
    assert (model.latent_channels, model.downscale, model.multiple) == (4, 4, 4)
    assert (model.scaling_factor, model.shift_factor) == (0.18215, 0.0)
    assert (model.default_size, model.default_sampler) == ((64, 64), "ddim")
    assert bundle.graphs["unet"].ranges["tokens"] == Range(77, 77, 77 * 16, 77)
    assert bundle.graphs["text_encoder"].ranges["clip_skip"] == Range(0, 0, 2)
    assert ModelSchedule(**model.scheduler).prediction_type == "epsilon"
    assert ModelSchedule(**model.scheduler).set_alpha_to_one is False


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_prediction_type(tmp_path: Path, prediction_type: str) -> None:
    folder = tiny_checkpoint(tmp_path / "checkpoint", prediction_type=prediction_type)
    facts = model_facts(supported(stage.open_checkpoint(folder)), "name")
    assert facts.scheduler["prediction_type"] == prediction_type


def test_prediction_type_can_be_said(checkpoint: Path) -> None:
    facts = model_facts(supported(stage.open_checkpoint(checkpoint, None, "v_prediction")), "name")
    assert facts.scheduler["prediction_type"] == "v_prediction"


def test_default_samplers_exist() -> None:
    assert set(SAMPLERS.values()) <= set(KNOWN_SAMPLERS)
    assert default_sampler({"_class_name": "PNDMScheduler", "skip_prk_steps": True}) == "plms"
    assert default_sampler({"_class_name": "PNDMScheduler"}) == "pndm"
    sde = {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}
    assert default_sampler(sde) == "dpmpp_2m_sde"


@pytest.mark.parametrize("kind", sorted(SAMPLERS))
def test_missing_schedule_fields_have_the_scheduler_s_own_defaults(kind: str) -> None:
    if kind == "DPMSolverSDEScheduler":
        pytest.importorskip("torchsde")
    import diffusers

    schedule = ModelSchedule(**schedule_facts({"_class_name": kind}))
    scheduler = getattr(diffusers, kind)()
    assert schedule.beta_start == scheduler.config.beta_start
    assert schedule.beta_schedule == scheduler.config.beta_schedule
    assert schedule.num_train_timesteps == scheduler.config.num_train_timesteps
    assert schedule.timestep_spacing is None


SDE3 = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}


@pytest.mark.parametrize(
    ("kind", "settings", "ignored"),
    [
        ("PNDMScheduler", {"skip_prk_steps": True, "clip_sample": False}, {}),
        ("PNDMScheduler", {}, {}),
        ("DDIMScheduler", {"clip_sample": False}, {}),
        ("DDIMScheduler", {"clip_sample_range": 2.0}, {"clip_sample": True}),
        ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_large"}, {"variance_type": "fixed_large"}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": False, "timestep_spacing": "trailing"}, {}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}, {}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}, {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, {}),
        ("DEISMultistepScheduler", {"solver_order": 3}, {}),
        ("DPMSolverSinglestepScheduler", {}, {}),
        ("SASolverScheduler", {}, {"_class_name": "SASolverScheduler"}),
        ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}, {"interpolation_type": "log_linear"}),
        ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, {}),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}, {}),
        ("DPMSolverMultistepScheduler", {"solver_order": 1}, {"solver_order": 1}),
        ("DPMSolverMultistepScheduler", {"thresholding": True}, {"thresholding": True}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, {}),
        ("DPMSolverMultistepScheduler", SDE3, {"solver_type": "midpoint"}),
        ("DPMSolverMultistepScheduler", {**SDE3, "solver_type": "heun"}, {}),
        ("UniPCMultistepScheduler", {"solver_type": "bh1"}, {"solver_type": "bh1"}),
        ("LCMScheduler", {"original_inference_steps": 100}, {"original_inference_steps": 100}),
    ],
)
def test_settings_that_are_not_followed(kind: str, settings: dict[str, object], ignored: dict[str, object]) -> None:
    assert not_followed({"_class_name": kind, **settings}) == ignored


@pytest.mark.parametrize("kind", ["DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "DEISMultistepScheduler"])
@pytest.mark.parametrize("schedule", ["karras", "exponential", "beta"])
def test_schedules_are_followed(kind: str, schedule: str) -> None:
    config = {"_class_name": kind, f"use_{schedule}_sigmas": True}
    assert (default_schedule(config), default_schedule({"_class_name": kind})) == (schedule, None)
    assert default_sampler(config) in KNOWN_SAMPLERS
    assert ModelSchedule(**schedule_facts(config)).betas is not None


@pytest.mark.parametrize(("kind", "sampler"), FLOW_SAMPLERS.items())
def test_facts_of_flow_matching(kind: str, sampler: str) -> None:
    config = {"_class_name": kind, "shift": 3.0}
    assert schedule_from_config(schedule_facts(config)) == FlowSchedule(shift=3.0)
    assert (default_sampler(config), not_followed(config)) == (sampler, {})
    if sampler == "euler":
        config |= {"use_dynamic_shifting": True, "stochastic_sampling": True, "use_karras_sigmas": True}
        assert default_sampler(config) == "lcm"
        schedule = FlowSchedule(shift=3.0, use_dynamic_shifting=True, stochastic_sampling=True, curve="karras")
        assert schedule_from_config(schedule_facts(config)) == schedule
        with pytest.raises(InputError, match="invert_sigmas"):
            schedule_facts({**config, "invert_sigmas": True})


def test_settings_that_are_not_followed_are_told(copy: Path, tmp_path: Path) -> None:
    edit(copy / "scheduler" / "scheduler_config.json", clip_sample=True, thresholding=True)
    seen: list[str] = []

    def report(stage: str) -> None:
        seen.append(stage)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(copy, tmp_path / "bundle", report=report)
    assert seen == ["scheduler: settings that are not followed: clip_sample=True, thresholding=True"]
    facts = model_facts(supported(stage.open_checkpoint(copy)), "name")
    assert facts.origin["not followed"] == "clip_sample=True, thresholding=True"


@pytest.mark.parametrize(
    ("kind", "library"), [("LMSDiscreteScheduler", "scipy"), ("DPMSolverSDEScheduler", "torchsde")]
)
def test_missing_library_of_a_scheduler(monkeypatch: pytest.MonkeyPatch, kind: str, library: str) -> None:
    class Dummy:
        @classmethod
        def from_config(cls, config: object) -> None:
            raise ImportError(f"{kind} requires the {library} library")

    monkeypatch.setattr(f"diffusers.{kind}", Dummy)
    with pytest.raises(ExportError, match=f"pip install {library}"):
        schedule_facts({"_class_name": kind})


def test_existing_target_is_kept(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        export_bundle(checkpoint, bundle.folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not a bundle"):
        export_bundle(checkpoint, tmp_path, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_overwriting_replaces_a_bundle(bundle: Bundle, tmp_path: Path) -> None:
    target = Path(shutil.copytree(bundle.folder, tmp_path / "old"))
    with publish(target, overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new"]


def test_failing_export_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def report(stage: str) -> None:
        seen.append(stage)
        if stage == "text_encoder: verifying":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_bundle(checkpoint, tmp_path / "bundle", report=report)
    assert list(tmp_path.iterdir()) == []
    steps = ("loading", "running in torch", "exporting", "verifying")
    assert seen == ["tokenizer", *(f"text_encoder: {step}" for step in steps)]


def test_graph_that_differs_is_refused(bundle: Bundle, checkpoint: Path) -> None:
    part = list(stage.parts(supported(stage.open_checkpoint(checkpoint)), 77))[-1]
    expected = reference(part.build(), part.component)
    altered = [[output * 1.001 for output in outputs] for outputs in expected]
    path = bundle.folder / "vae_decoder.onnx"
    with pytest.raises(ExportError, match=r"vae_decoder: differs from torch by 0\.000999 .* at rows 1, h 8, w 7"):
        compare(path, part.component, altered, "float32", "float32")
    altered[0][0][0, 0, 0, 0] = float("nan")
    with pytest.raises(ExportError, match="by nan"):
        compare(path, part.component, altered, "float32", "float32")


def test_nan_in_any_output_counts() -> None:
    good, bad = np.ones(3), np.array([1.0, np.nan, 1.0])
    assert worst([good * 1.1, good], [good, good]) == pytest.approx(0.1)
    for outputs in ([good, bad], [bad, good]):
        assert np.isnan(worst(outputs, [good, good]))


def test_killed_export_leaves_nothing_that_loads(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    program = (
        "import sys, pathlib; from overpaint.export import export_bundle\n"
        "def report(stage):\n    print(stage, flush=True)\n    if stage == 'unet: loading': sys.stdin.read()\n"
        "export_bundle(*map(pathlib.Path, sys.argv[1:]), report=report)"
    )
    command = [sys.executable, "-c", program, str(checkpoint), str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("unet: loading") for line in process.stdout)
        remove_stale(target)
        process.send_signal(signal.SIGKILL)
    assert not target.exists()
    (partial,) = tmp_path.iterdir()
    assert partial.name.startswith(".bundle.partial-")
    assert (partial / "text_encoder.onnx").is_file()
    with pytest.raises(BundleError):
        Bundle.read(partial)
    remove_stale(target)
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_killed_exports_are_removed(tmp_path: Path) -> None:
    names = [
        ".name.partial-0123abcd",
        ".name.partial-b.partial-0123abcd",
        ".other.partial-0123abcd",
        ".name.partial-my",
    ]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".name.partial-aaaaaaaa").write_text("a file")
    with publish(tmp_path / "name", overwrite=False) as folder:
        remove_stale(tmp_path / "name")
        assert folder.is_dir()
    assert {path.name for path in tmp_path.iterdir()} >= {"name", *names[1:]}
    assert not (tmp_path / names[0]).exists()
    remove_stale(tmp_path / "nowhere" / "name")


def test_interrupt_while_the_folders_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "bundle.json").write_text("old")
    rename = Path.rename

    def interrupted(path: Path, to: Path) -> Path:
        if ".partial-" in path.name:
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), publish(target, overwrite=True) as folder:
        (folder / "bundle.json").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (target / "bundle.json").read_text() == "old"


def test_full_disk_is_told_before_the_work(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"needs about 0\.1 GB of disk, 0\.0 GB are free"):
        export_bundle(checkpoint, tmp_path / "bundle")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_target(checkpoint: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        export_bundle(checkpoint, tmp_path / "bundle")


def test_target_below_a_file(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export_bundle(checkpoint, tmp_path / "file" / "bundle")


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
def test_pickles_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"pickle.*any code.*convert it to \.safetensors"):
        export_bundle(path, tmp_path / "bundle")


def test_folder_of_pickles_is_refused(copy: Path, tmp_path: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(InputError, match="pickle"):
        export_bundle(copy, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model_index.json", "model_index.json: is missing"),
        ("unet/config.json", "config.json: is missing"),
        ("scheduler/scheduler_config.json", "scheduler_config.json: is missing"),
        ("unet/diffusion_pytorch_model.safetensors", "has no diffusion_pytorch_model.safetensors"),
        ("unet", "is missing"),
    ],
)
def test_missing_pieces(copy: Path, tmp_path: Path, missing: str, message: str) -> None:
    shutil.rmtree(copy / missing) if (copy / missing).is_dir() else (copy / missing).unlink()
    with pytest.raises(InputError, match=message):
        export_bundle(copy, tmp_path / "bundle")


def test_missing_tokenizer(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "tokenizer")
    with pytest.raises(InputError, match="has no CLIP tokenizer"):
        export_bundle(copy, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_truncated_weights(copy: Path, tmp_path: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        export_bundle(copy, tmp_path / "bundle")


def test_garbled_config(copy: Path, tmp_path: Path) -> None:
    (copy / "unet" / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        export_bundle(copy, tmp_path / "bundle")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ("unet/config.json", {"in_channels": 7}, "takes 7 channels"),
        ("unet/config.json", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("unet/config.json", {"sample_size": None}, "sample_size"),
        ("vae/config.json", {"_class_name": "VQModel"}, "VQModel"),
        ("text_encoder/config.json", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel"),
        ("scheduler/scheduler_config.json", {"_class_name": "EulerScheduler"}, "EulerDiscreteScheduler"),
        ("scheduler/scheduler_config.json", {"prediction_type": "v-prediction"}, "v_prediction"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "cosine"}, "refuses it"),
    ],
)
def test_other_architectures_are_refused(
    copy: Path, tmp_path: Path, file: str, changes: dict[str, object], message: str
) -> None:
    edit(copy / file, **changes)
    with pytest.raises(InputError, match=message):
        export_bundle(copy, tmp_path / "bundle")


@pytest.mark.parametrize(
    "changes", [{"layers_per_block": 2}, {"block_out_channels": [16, 32, 64]}, {"cross_attention_dim": 48}]
)
def test_weights_that_do_not_fit_their_config(copy: Path, changes: dict[str, object]) -> None:
    edit(copy / "unet" / "config.json", **changes)
    part = next(p for p in stage.parts(supported(stage.open_checkpoint(copy)), 77) if p.component.name == "unet")
    with pytest.raises(ExportError, match="from the same"):
        part.build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float8"}, "unknown precision"),
        ({"precision": "float16", "weights": "float32"}, "float16 graph has float16 weights"),
        ({"opset": 11}, "opset 11"),
    ],
)
def test_options(checkpoint: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_bundle(checkpoint, tmp_path / "bundle", **options)  # type: ignore[arg-type]


def test_weight_too_large_for_float16(copy: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = copy / "text_encoder" / "model.safetensors"
    state = load_file(path)
    state["final_layer_norm.bias" if "final_layer_norm.bias" in state else "text_model.final_layer_norm.bias"][0] = 1e6
    save_file(state, path)
    with pytest.raises(ExportError, match="not finite in float16"):
        export_bundle(copy, tmp_path / "bundle", weights="float16")
