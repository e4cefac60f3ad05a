"""A1111's infotexts as options: what is followed, what is noted, and that ours come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import overpaint
from overpaint import InputError, Pipeline, from_infotext
from overpaint.runtime.imaging.metadata import Parameters, format_parameters
from overpaint.runtime.imaging.output import write
from overpaint.runtime.requests.option import TOOLS
from overpaint.runtime.requests.request import Request
from overpaint.runtime.sampling.names import SCHEDULES
from overpaint.runtime.sampling.samplers import SAMPLERS

PAIRS = (
    "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x768, Denoising strength: 0.5"
)


def text(*pairs: str, instead: str = PAIRS) -> str:
    return "\n".join(["a cat", ", ".join(filter(None, [instead, *pairs]))])


def options(*pairs: str, verb: str = "img2img", instead: str = PAIRS, **given: Any) -> dict[str, Any]:
    return dict(from_infotext(text(*pairs, instead=instead), verb, **given).options)


def notes(*pairs: str, verb: str = "img2img", **given: Any) -> tuple[str, ...]:
    return from_infotext(text(*pairs), verb, **given).notes


def test_what_a1111_writes() -> None:
    infotext = from_infotext(
        "a cat, (red:1.2)\nin the rain\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M, Schedule type: Karras, "
        "CFG scale: 6.5, Seed: 99, Size: 512x768, Model hash: 45dee52b, Model: sd15, Variation seed: 3, "
        "Variation seed strength: 0.2, Seed resize from: 512x512, Denoising strength: 0.55, Clip skip: 2, ENSD: 31337, "
        "RNG: CPU, Version: v1.10.1"
    )
    assert infotext.options == {
        "prompt": "a cat, (red:1.2)\nin the rain",
        "negative_prompt": "blurry",
        "steps": 25,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "guidance_scale": 6.5,
        "seed": 99,
        "size": (512, 768),
        "resize_mode": "stretch",
        "strength": 0.55,
        "clip_skip": 1,
        "variation_seed": 3,
        "variation_strength": 0.2,
        "seed_resize_from": (512, 512),
        "eta_noise_seed_delta": 31337,
        "noise": "cpu",
        "convention": "a1111",
    }
    assert (infotext.notes, infotext.model, infotext.model_hash) == ((), "sd15", "45dee52b")


def test_what_a1111_does_not_write_is_its_own_way() -> None:
    made = options()
    assert (made["noise"], made["convention"], "clip_skip" in made) == ("gpu", "a1111", False)


@pytest.mark.parametrize(
    ("sampler", "kind", "version", "expected"),
    [
        ("DPM++ 2M Karras", None, "v1.6.0", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", None, None, ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M Karras", "Exponential", None, ("dpmpp_2m", "karras")),
        ("Euler a", "Automatic", "v1.10.1", ("euler_a", None)),
        ("Euler", "SGM Uniform", "v1.10.1", ("euler", "sgm_uniform")),
        ("DPM++ 2M", None, "v1.10.1", ("dpmpp_2m", None)),
        # Before 1.9 what has no schedule in its name was uniform; now it is Karras.
        ("DPM++ 2M", None, "v1.8.0", ("dpmpp_2m", "normal")),
        ("Euler", None, "v1.8.0", ("euler", None)),
        # These know no schedules there.
        ("DDIM", "Karras", "v1.10.1", ("ddim", None)),
        ("UniPC", "Beta", "v1.10.1", ("unipc", None)),
    ],
)
def test_samplers_and_schedules(sampler: str, kind: str | None, version: str | None, expected: object) -> None:
    pairs = [f"Sampler: {sampler}", kind and f"Schedule type: {kind}", version and f"Version: {version}"]
    made = options(*filter(None, pairs), instead="Steps: 4, CFG scale: 3, Seed: 1, Denoising strength: 0.5")
    assert (made["sampler"], made.get("schedule")) == expected


@pytest.mark.parametrize(
    ("sampler", "nearest"), [("Euler b", "Euler, Euler a, "), ("DPM++ 2M Karas", "DPM++ 2M Karras, DPM++ 2M, ")]
)
def test_an_unknown_sampler_has_the_nearest_of_a1111s_names(sampler: str, nearest: str) -> None:
    with pytest.raises(InputError) as raised:
        from_infotext(text(instead=PAIRS.replace("Euler a", sampler)))
    cause = str(raised.value)
    assert f"unknown sampler {sampler!r}; A1111's are, nearest first: {nearest}" in cause
    assert cause.endswith("; give --sampler to replace it")
    assert len(cause.partition("first: ")[2].partition(";")[0].split(", ")) == 8
    replaced = from_infotext(text(instead=PAIRS.replace("Euler a", sampler)), sampler="ddim")
    assert replaced.options["sampler"] == "ddim"


def test_eta_is_that_of_the_samplers_kind() -> None:
    assert options("Eta: 0.5")["eta"] == 0.5
    ddim = PAIRS.replace("Euler a", "DDIM")
    assert options("Eta DDIM: 0.3", instead=ddim)["eta"] == 0.3
    infotext = from_infotext(text("Eta DDIM: 0.3"))
    assert "eta" not in infotext.options
    assert "eta of another kind" in infotext.notes[0]


def test_inpainting() -> None:
    made = options(
        "Mask blur: 6", "Inpaint area: Only masked", "Masked area padding: 48", "Masked content: latent noise",
        "Mask mode: Inpaint not masked", verb="inpaint",
    )  # fmt: skip
    names = ("blur", "only_masked", "padding", "content", "invert", "latent_mask", "ring")
    assert [made[name] for name in names] == [(6, 6), True, 48, "noise", True, "a1111", 0]
    assert options("Masked content: fill", verb="inpaint")["blur"] == (0, 0)  # A1111 leaves a blur of 0 out
    assert "blur" not in options(verb="inpaint")
    assert notes("Mask blur: 4") == ("Mask blur: 4 is not followed by img2img",)


def test_upscaling() -> None:
    ours = ("Upscale by: 3", "Upscale method: tiles", "Tile size: 64", "Tile padding: 8", "Mask blur: 2")
    made = options(*ours, "Tile order: chess", "Seam fix: bands", "Version: overpaint 0.1.0", verb="upscale")
    names = ("scale", "method", "tile", "padding", "mask_blur", "order", "seam_fix")
    assert [made[name] for name in names] == [3, "tiles", 64, 8, 2, "chess", "bands"]
    assert not {"padding", "mask_blur"} & options(*ours, verb="upscale", method="joint").keys()
    assert notes("Mask blur: 4", verb="upscale")[0] == "mask_blur is not followed: the method 'joint' has none"
    script = "Ultimate SD upscale"
    made = options(f"{script} tile_width: 512", f"{script} mask_blur: 8", f"{script} padding: 32", verb="upscale")
    assert [made[name] for name in names[1:5]] == ["tiles", 512, 32, 8]
    assert notes("Size: 8x8", verb="upscale") == ("Size: 8x8 is not followed by upscale",)


def test_options_win() -> None:
    made = options('Passes: "0.5, 0.3"', strength=0.2, sampler="heun", cfg_scale=3, size=None)
    assert (made["strength"], made["sampler"], made["guidance_scale"], made["size"]) == (0.2, "heun", 3, None)
    assert "passes" not in made
    assert "resize_mode" not in made
    # Whatever is wrong with what they replace does not matter.
    broken = text(instead="Steps: many, Sampler: none at all, Schedule type: no such, Seed: x, Size: big")
    given = {"steps": 3, "sampler": "euler", "schedule": "karras", "seed": 1, "size": (64, 64), "strength": 0.5}
    assert given.items() <= from_infotext(broken, **given).options.items()


def test_a_schedule_in_the_name_of_a_given_sampler_wins() -> None:
    assert options(sampler="DPM++ 2M Exponential")["schedule"] == "exponential"


@pytest.mark.parametrize(
    ("pair", "cause"),
    [
        ("Sampler: DPM+ 2M Karas", r"Sampler.*nearest first: DPM\+\+ 2M Karras.*give --sampler"),
        ("Schedule type: Karass", "Schedule type.*'karras'"),
        ("Steps: many", "Steps.*'many'"),
        ("Size: 512", "Size.*'512'"),
        ("Seed: " + "9" * 5000, "Seed"),
        ("RNG: CPUs", "RNG.*CPU, GPU"),
        ("Resize: crops", "Resize.*'crop'"),
        ("Between passes: x", "Between passes"),
    ],
)
def test_what_is_not_known_is_named_with_the_nearest(pair: str, cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        from_infotext(text(pair))


def test_notes_on_what_is_not_followed() -> None:
    assert notes(
        "CFG Scale: 3", "Hires upscale: 2", 'Lora hashes: "a: 1, b: 2"', "Emphasis: Original", "Emphasis: No norm"
    ) == (
        "CFG Scale: 3 is not followed; did you mean 'CFG scale'?",
        "Hires upscale: 2 is not followed",
        "Lora hashes: a: 1, b: 2 is not followed",
        "Emphasis: No norm is not followed",
    )
    assert notes('ControlNet 0: "' + "x" * 200 + '"') == (f"ControlNet 0: {'x' * 60}... is not followed",)
    image_prompt = "Module: ip-adapter_clip_sd15, Model: style [12345678], Weight: 1"
    assert notes(f'ControlNet 0: "{image_prompt}"') == (f"ControlNet 0: {image_prompt[:60]}... is not followed",)
    assert "no denoising strength" in from_infotext("a cat\nSteps: 20, Sampler: Euler, Seed: 5").notes[0]
    assert not from_infotext("a cat\nSteps: 20, Sampler: Euler, Seed: 5", strength=0.5).notes


def test_a_prompt_alone_is_one() -> None:
    assert from_infotext("a cat,\non a mat").options["prompt"] == "a cat,\non a mat"


@pytest.mark.parametrize("value", ['x: "1", y: 2', "a, b", "a\nb", '"quoted"', "back\\slash, \\n", "ünï, 猫"])
def test_quoted_values_are_read_as_a1111_writes_them(value: str) -> None:
    written = format_parameters(Parameters("a", steps=3, seed=1, denoising_strength=0.5, extra=(("Note", value),)))
    shown = " ".join(value.split())
    assert from_infotext(f"{written}\n" if "\n" in written else written).notes == (f"Note: {shown} is not followed",)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".txt"])
def test_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"made{ending}"
    if ending == ".txt":
        path.write_text(text(), encoding="utf-16")
    else:
        write(path, Image.new("RGB", (8, 8)), text())
    for source in (path, str(path), path.read_bytes()):
        assert from_infotext(source).options == options()


def test_files_without_an_infotext(tmp_path: Path) -> None:
    bare, odd = tmp_path / "bare.png", tmp_path / "odd.txt"
    write(bare, Image.new("RGB", (8, 8)), None)
    odd.write_bytes(b"\xff\0\xfe a")
    for path, cause in ((bare, "no parameters of A1111"), (odd, "odd.txt"), (tmp_path / "none.png", "no such file")):
        with pytest.raises(InputError, match=cause):
            from_infotext(path)
    with pytest.raises(InputError, match="verb 'paint'"):
        from_infotext(bare, "paint")


def test_another_models_hash_is_a_note(fake: Pipeline) -> None:
    infotext = from_infotext(text("Model hash: 45dee52b", "Model: sd15"))
    assert "sd15 [45dee52b] made it" in (infotext.unlike(fake.bundle) or "")
    assert from_infotext(text()).unlike(fake.bundle) is None
    own = fake.bundle.graph("unet").sha256[:10]
    assert from_infotext(text(f"Model hash: {own}")).unlike(fake.bundle) is None


@pytest.mark.parametrize("share", [0.007, 0.9995, 0.123456789, 1.0])
def test_a_percentile_is_read_as_it_was(fake: Pipeline, picture: NDArray[np.uint8], share: float) -> None:
    [first] = fake.start(picture, "a", mimic_scale=3.0, threshold_percentile=share).prepared
    assert from_infotext(first.parameters).options["threshold_percentile"] == share


FOLLOWED = {
    "strength": st.floats(0.1, 1),
    "steps": st.integers(10, 40),
    "guidance_scale": st.floats(0, 20),
    "guidance_rescale": st.just(0.0) | st.floats(0.1, 1),
    "guidance_interval": st.just(()) | st.just((0.25, 0.5)),
    "cache": st.none() | st.just("forecast:3"),
    "sampler": st.sampled_from(sorted(SAMPLERS)),
    "schedule": st.none() | st.sampled_from(sorted(SCHEDULES)),
    "convention": st.sampled_from(["contract", "continuous", "diffusers", "a1111"]),
    "eta": st.none() | st.floats(0, 1),
    "clip_skip": st.integers(0, 2),
    "noise": st.sampled_from(["cpu", "gpu", "field"]),
    "posterior": st.sampled_from(["sample", "mode"]),
    "size": st.none() | st.just((32, 48)),
    "passes": st.just(()) | st.just((0.5, 0.3)),
    "variation_seed": st.integers(0, 2**64 - 1),
    "variation_strength": st.just(0.0) | st.floats(0.1, 1),
    "seed_resize_from": st.none() | st.just((64, 32)),
    "eta_noise_seed_delta": st.integers(-5, 5),
    "colour_match": st.none() | st.just("mean"),
    "prompt_syntax": st.none() | st.just("plain"),
    "weighting": st.none() | st.just("comfy"),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries({}, optional=FOLLOWED),
    st.integers(0, 2**64 - 1),
    st.text('ab ,:"\\', max_size=9).map(str.strip),
)
def test_what_we_write_is_what_we_read(
    fake: Pipeline, picture: NDArray[np.uint8], infotext: dict[str, Any], seed: int, prompt: str
) -> None:
    try:
        [first] = fake.start(picture, prompt, seed=seed, **infotext).prepared
    except InputError:  # such as brackets that are not closed, or a sampler that has no eta
        return
    read = from_infotext(first.parameters)
    assert read.notes == ()
    [again] = fake.start(picture, **read.options).prepared
    assert again.parameters == first.parameters
    assert np.array_equal(again.plan.matrix, first.plan.matrix)
    ignored = {"schedule", "sampler", "image", "prompt", "strength"}
    if not first.request.variation_strength:
        ignored.add("variation_seed")
    if first.request.passes:
        ignored.add("strength")
    told = {name: value for name, value in vars(first.request).items() if name not in ignored}
    told |= {"noise": first.request.noise_kind, "posterior": first.request.latents_from}
    told["resize_mode"] = first.request.fit_mode if first.request.size else None
    assert {name: vars(again.request)[name] for name in told} == told


words = st.sampled_from([
    "Steps", "Sampler", "Size", "Seed", "Clip skip", "Eta", "Mask blur", "Passes", "Version", "Schedule type", ": ",
    ", ", '"', "\\", "\n", "1.8", "v1.", "x", "512x", "Negative prompt:", "-1", "nan", "1e999", "Euler", "\0", "猫",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(words | st.text(max_size=3), max_size=40).map("".join), st.sampled_from(TOOLS))
def test_damaged_texts_give_options_or_an_input_error(damaged: str, verb: str) -> None:
    picture = overpaint.read(np.zeros((64, 64, 3), np.uint8))
    try:
        made = from_infotext(f"{damaged}\n{damaged}", verb)
        fields = {name: value for name, value in made.options.items() if name in Request.__dataclass_fields__}
        Request(picture, **fields)
    except InputError:
        pass


def test_long_lines_take_no_time() -> None:
    for part in ("a", " ", "a:", 'a:"', "a,", "ab: \\"):
        from_infotext("\n" + part * 100_000, strength=0.5)
