"""What must hold of every sampler by itself, whatever diffusers does."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overpaint.errors import InputError
from overpaint.runtime.conventions.convention import A1111
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import PREDICTIONS, SPACINGS, ModelSchedule
from overpaint.runtime.sampling.linear import MODEL, Line, Sum, X, array, checked, matrix, slot_names, total
from overpaint.runtime.sampling.names import SCHEDULES
from overpaint.runtime.sampling.plan import Plan
from overpaint.runtime.sampling.programs import UNIPC_END
from overpaint.runtime.sampling.samplers import SAMPLERS, Sampler
from overpaint.runtime.sampling.strength import CONVENTIONS

CLEAN = np.random.default_rng(1).standard_normal((2, 3))


def draws() -> Iterator[np.ndarray]:
    generator = np.random.default_rng(2)
    while True:
        yield generator.standard_normal(CLEAN.shape)


def perfect(plan: Plan, prediction: str, seen: list[np.ndarray] | None = None) -> Callable[..., np.ndarray]:
    """The model that knows the one clean image, `CLEAN`; what the plan makes of its outputs goes into `seen`."""
    lines = itertools.count()

    def model(x: np.ndarray, timestep: float) -> np.ndarray:
        i = next(lines)
        alpha = 1 / math.hypot(1, plan.sigmas[i])
        sigma = plan.sigmas[i] * alpha
        eps = (x - alpha * CLEAN) / sigma
        output = {"epsilon": eps, "v_prediction": alpha * eps - sigma * CLEAN, "sample": CLEAN}[prediction]
        if seen is not None:
            seen.append(plan.denoised[i] @ np.stack([(x / plan.scale_in[i]).ravel(), output.ravel()]))
        return output

    return model


@settings(deadline=None, max_examples=150)
@given(
    sampler=st.sampled_from(sorted(SAMPLERS)),
    prediction=st.sampled_from(PREDICTIONS),
    steps=st.integers(1, 40),
    strength=st.floats(0.05, 1.0),
    convention=st.sampled_from(sorted(CONVENTIONS)),
    schedule=st.sampled_from([None, "karras", "sgm_uniform", "beta", "kl_optimal"]),
)
def test_a_perfect_model_gives_its_image(
    sampler: str, prediction: str, steps: int, strength: float, convention: str, schedule: str | None
) -> None:
    if sampler in ("lms", "plms") and convention == "diffusers":
        return  # the flaws of diffusers are what that convention is for
    if (sampler, convention) == ("ipndm_v", "comfy"):
        return  # its weights of order 4 do not sum to 1 there
    if sampler in ("plms", "pndm") and prediction != "epsilon":
        return  # they take the mean of outputs at several levels, which only an epsilon keeps, as in diffusers
    if sampler == "lcm" and schedule:
        return  # by its definition LCM gives back x at timestep 0, which these schedules reach
    if convention == "a1111" and (schedule == "kl_optimal" or (not schedule and sampler in A1111.by_timesteps)):
        return  # these end at the lowest sigma there, as test vectors show
    if sampler == "dpm_fast" and convention in ("a1111", "comfy"):
        return  # there it ends at the schedule's last level, of which sgm_uniform's is high
    facts = ModelSchedule(prediction_type=prediction, set_alpha_to_one=True)
    try:
        plan = compile_plan(
            facts, sampler=sampler, schedule=schedule, steps=steps, strength=strength, convention=convention
        )
    except InputError as error:
        assert any(text in str(error) for text in ("less than one step", "ask for fewer", "a strength of at least"))  # noqa: PT017
        return
    seen: list[np.ndarray] = []
    slots = np.zeros((plan.slots, *CLEAN.shape))
    noises, model = draws(), perfect(plan, prediction, seen)
    slots[0] = plan.start[0] * CLEAN + plan.start[1] * next(noises)
    for i in range(len(plan)):
        output = model(plan.scale_in[i] * slots[0], plan.timesteps[i])
        slots = np.tensordot(plan.matrix[i], np.stack([*slots, output, next(noises)]), axes=1)
    np.testing.assert_allclose(np.array(seen), np.broadcast_to(CLEAN.ravel(), (len(plan), CLEAN.size)), atol=1e-9)
    if SAMPLERS[sampler].end == "sigma_min" or (sampler == "tcd" and not schedule):  # they end at timestep 0
        assert np.abs(slots[0] - CLEAN).max() < 5 * facts.level(0).ve
    else:  # LCM keeps a little of x: its skip is 1.6e-5 at timestep 12
        # PNDM's half steps are cut to whole timesteps, as in diffusers, so they are no halves of an odd step.
        close = {"lcm": 1e-2, "pndm": 3e-2}.get(sampler, 1e-8)
        if convention == "comfy" and sampler.startswith("unipc"):
            close = 5 * UNIPC_END
        np.testing.assert_allclose(slots[0], CLEAN, atol=close)


@settings(deadline=None, max_examples=150)
@given(
    sampler=st.sampled_from(sorted(SAMPLERS)),
    schedule=st.sampled_from([None, *SCHEDULES]),
    steps=st.integers(1, 50),
    strength=st.floats(0.02, 1.0),
    convention=st.sampled_from(sorted(CONVENTIONS)),
)
def test_noise_falls(sampler: str, schedule: str | None, steps: int, strength: float, convention: str) -> None:
    try:
        plan = compile_plan(
            ModelSchedule(), sampler=sampler, schedule=schedule, steps=steps, strength=strength, convention=convention
        )
    except InputError as error:
        assert str(error)  # noqa: PT017
        return
    begins = np.flatnonzero(np.diff(plan.step, prepend=-1))
    # Restart goes back up, and so does DPM fast with the fresh noise that A1111 gives it.
    if sampler != "restart" and (sampler, convention) != ("dpm_fast", "a1111"):
        assert (np.diff(plan.sigmas[begins]) < 0).all()
    assert plan.steps == len(begins) <= len(plan)
    assert (plan.timesteps >= 0).all()
    assert (plan.timesteps <= 999).all()


def gaussian_error(sampler: str, steps: int, eta: float | None) -> float:
    """The error of x on images that are Gaussian, where the probability flow has a closed form (x in VE units)."""
    spread, sigmas = 0.6, np.geomspace(10, 0.2, steps + 1)
    plan = compile_plan(ModelSchedule(), sampler=sampler, sigmas=sigmas.tolist(), eta=eta, convention="diffusers")
    lines = itertools.count()
    first = 1.0 if SAMPLERS[sampler].ve else 1 / math.hypot(1, sigmas[0])
    last = 1.0 if SAMPLERS[sampler].ve else 1 / math.hypot(1, sigmas[-1])
    slots = np.zeros(plan.slots)
    slots[0] = first
    for i in lines:
        if i == len(plan):
            break
        alpha = 1 / math.hypot(1, plan.sigmas[i])
        ve = slots[0] * plan.scale_in[i] / alpha
        output = ve * plan.sigmas[i] / (spread**2 + plan.sigmas[i] ** 2)
        slots = plan.matrix[i] @ np.array([*slots, output, 0.0])
    return abs(slots[0] / last - math.sqrt((spread**2 + sigmas[-1] ** 2) / (spread**2 + sigmas[0] ** 2)))


@pytest.mark.parametrize(
    ("sampler", "order", "eta"),
    [
        ("euler", 1, None),
        ("ddim", 1, 0.0),
        ("heun", 2, None),
        ("dpm2", 2, None),
        ("lms", 3, None),
        ("dpmpp_2m", 2, None),
        ("dpmpp_3m_sde", 2, 0.0),
        ("unipc", 2, None),
        ("dpmpp_2s", 1, None),
        ("dpmpp_2s_a", 2, 0.0),
        ("dpmsolver_2m", 2, None),
        ("dpmsolver_3m", 2, None),
        ("dpmsolver_2s", 2, None),
        ("deis", 2, None),
        ("deis_3", 2, None),
    ],
)
def test_order_of_convergence(sampler: str, order: int, eta: float | None) -> None:
    """Multistep samplers begin with a step of order 1, which limits the order of the whole."""
    rate = math.log2(gaussian_error(sampler, 80, eta) / gaussian_error(sampler, 160, eta))
    assert rate > order - 0.25, rate


def prediction_weights(schedule: str | None, steps: int, convention: str) -> np.ndarray:
    """[lines] What the weights of dpmpp_3m_sde's predictions of the image sum to, in magnitude."""
    model = ModelSchedule(prediction_type="sample")
    plan = compile_plan(model, sampler="dpmpp_3m_sde", schedule=schedule, steps=steps, convention=convention)
    return np.abs(plan.matrix[:, 0, 1:-1]).sum(axis=1)


@pytest.mark.parametrize("convention", ["contract", "continuous"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_long_step_multiplies_the_errors_of_predictions(schedule: str, convention: str) -> None:
    """On "normal" at 20 steps the formula's last step weighs them 11, -20 and 10: the picture is wreckage."""
    for steps in (3, 10, 15, 20, 30, 50):
        assert prediction_weights(schedule, steps, convention).max() < 5


def test_the_order_stays_where_steps_are_even_and_under_other_programs_conventions() -> None:
    for schedule in (*SPACINGS, "karras", "exponential"):
        for steps in (8, 20, 50):
            kept, formula = (prediction_weights(schedule, steps, name) for name in ("contract", "diffusers"))
            np.testing.assert_array_equal(kept, formula)
    for convention in ("diffusers", "comfy"):
        assert prediction_weights("normal", 20, convention).max() > 40
    assert prediction_weights("normal", 20, "a1111").max() < 5  # it drops the sigma before the last, for this


def test_k_diffusion_does_not_lower_the_order_of_short_schedules() -> None:
    ours, theirs = (prediction_weights("karras", 6, name) for name in ("contract", "comfy"))
    assert (theirs[-3:-1] > ours[-3:-1] + 0.1).any()
    np.testing.assert_array_equal(theirs[-1:], ours[-1:])


@pytest.mark.parametrize(
    ("stochastic", "plain"), [("euler_a", "euler"), ("dpm2_a", "dpm2"), ("dpmpp_2m_sde", "dpmpp_2m")]
)
def test_without_noise_an_sde_is_its_ode(stochastic: str, plain: str) -> None:
    plan = compile_plan(ModelSchedule(), sampler=stochastic, steps=7, eta=0.0)
    assert not plan.noisy.any()
    np.testing.assert_array_equal(plan.matrix, compile_plan(ModelSchedule(), sampler=plain, steps=7).matrix)


def test_noise_of_dpmpp_sde_is_brownian() -> None:
    """Both lines of a step take theirs from the step's beginning on, so the second contains the first."""
    plan = compile_plan(ModelSchedule(), sampler="dpmpp_sde", steps=4)
    high, middle, low = plan.sigmas[:3]
    np.testing.assert_allclose(plan.increment[:2], [[high, middle], [high, low]], rtol=1e-6)
    np.testing.assert_allclose(plan.span, [[high, plan.sigmas[-1]]] * len(plan))
    assert plan.matrix[1, 0, -1] == pytest.approx(low * math.sqrt(1 - (low / high) ** 2))
    assert plan.brownian.tolist() == plan.noisy.tolist() == [True] * 6 + [False]
    assert not compile_plan(ModelSchedule(), sampler="dpmpp_sde", steps=4, eta=0.0).noisy.any()


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_noise_is_brownian_where_the_program_has_it_so(sampler: str) -> None:
    """ComfyUI's motion spans the sigmas that run, A1111's those of the whole schedule."""
    options = {"sampler": sampler, "schedule": "karras", "steps": 20, "strength": 0.5}
    plans = {name: compile_plan(ModelSchedule(), convention=name, **options) for name in CONVENTIONS}
    assert [name for name, plan in plans.items() if plan.brownian.any()] == ["a1111", "comfy"]
    for plan in (plans["a1111"], plans["comfy"]):
        np.testing.assert_array_equal(plan.increment[:-1], np.stack([plan.sigmas[:-1], plan.sigmas[1:]], axis=1))
        assert plan.span[0, 1] == plan.sigmas[-1]
    assert plans["comfy"].span[0, 0] == plans["comfy"].sigmas[0]
    assert plans["a1111"].span[0, 0] == pytest.approx(ModelSchedule().sigmas[-1])


def test_zero_terminal_snr_needs_another_prediction() -> None:
    facts = ModelSchedule(rescale_betas_zero_snr=True)
    with pytest.raises(InputError, match="zero terminal SNR"):
        compile_plan(facts, sampler="ddim", schedule="trailing", steps=4)


names = st.sampled_from(["x", "old", "model"])
sums = st.dictionaries(names, st.floats(-4, 4)).map(Sum)


@given(a=sums, b=sums, factor=st.floats(-3, 3), values=st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_sums_are_linear(a: Sum, b: Sum, factor: float, values: list[float]) -> None:
    def value(expression: Sum) -> float:
        given = dict(zip(["x", "old", "model"], values, strict=True))
        return sum(weight * given[name] for name, weight in expression.weights.items())

    assert value(a + b * factor) == pytest.approx(value(a) + factor * value(b), abs=1e-9)
    assert value((a - b) / 2) == pytest.approx((value(a) - value(b)) / 2, abs=1e-9)
    assert value(total([factor, 1.0], [a, b])) == pytest.approx(value(factor * a + b), abs=1e-9)


def test_lines_become_a_matrix() -> None:
    level, old = ModelSchedule().level(5), array("old")
    lines = [Line(0, level, {"x": 2 * X + MODEL, "old": X}), Line(1, level, {"x": X - old})]
    assert slot_names(lines) == ("x", "old")
    np.testing.assert_array_equal(matrix(lines, ("x", "old")), [[[2, 0, 1, 0], [1, 0, 0, 0]], [[1, -1, 0, 0], [0] * 4]])


@pytest.mark.parametrize("convention", ["contract", "continuous"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_plans_that_end_at_the_lowest_sigma_are_finite(sampler: str, convention: str) -> None:
    model = ModelSchedule(final_sigmas_type="sigma_min")
    for schedule, steps in itertools.product((None, *SCHEDULES), (1, 2, 5, 20)):
        if schedule == "linear_quadratic" and (sampler in ("lms", "ipndm_v", "er_sde") or steps == 2):
            continue  # it goes down 2.5 % in half of the steps and then to the end, too far for an extrapolation
        strengths = (1.0, 0.5) if steps > 1 else (1.0,)
        for strength in strengths:
            plan = compile_plan(
                model, sampler=sampler, schedule=schedule, steps=steps, strength=strength, convention=convention
            )
            assert np.isfinite(plan.matrix).all(), (schedule, steps)
            assert np.abs(plan.matrix).max() < 100, (schedule, steps)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_a_step_of_no_length_leaves_x(sampler: str) -> None:
    plan = compile_plan(ModelSchedule(final_sigmas_type="sigma_min"), sampler=sampler, schedule="karras", steps=20)
    np.testing.assert_allclose(plan.matrix[-1, 0], [1.0, *[0.0] * (plan.slots + 1)], atol=1e-12)


@pytest.mark.parametrize(
    ("slots", "cause"),
    [
        ({"old": MODEL}, "line 2 of the sampler does not say what x becomes"),
        ({"x": X - array("older")}, "line 2 of the sampler reads 'older', which no line sets"),
    ],
)
def test_a_line_that_is_not_whole_is_refused(slots: dict[str, Sum], cause: str) -> None:
    level = ModelSchedule().level(500)
    with pytest.raises(InputError, match=cause):
        checked([Line(0, level, {"x": X, "old": MODEL}), Line(1, level, slots)])


def test_a_sampler_of_ones_own_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "euler", Sampler(lambda path: (Line(i, here, {}) for i, here, _ in path), "fraction"))
    with pytest.raises(InputError, match="line 1 of the sampler does not say what x becomes"):
        compile_plan(ModelSchedule(), sampler="euler", steps=2)


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"grid": "fractoin"}, "unknown grid of a sampler 'fractoin'; did you mean 'fraction'"),
        ({"end": "claen"}, "did you mean 'clean'"),
        ({"spacing": "linspaec"}, "did you mean 'linspace'"),
        ({"rounds": ("karas",)}, "did you mean 'karras'"),
        ({"cuts": ("bata",)}, "did you mean 'beta'"),
    ],
)
def test_a_sampler_whose_words_nobody_knows_is_refused(options: dict[str, Any], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        Sampler(**{"lines": SAMPLERS["euler"].lines, "grid": "fraction", **options})
