"""A mask in the predictions, against A1111 1.10.1's own samplers, denoiser and soft inpainting on the toy model."""

import numpy as np
import pytest

from overpaint.runtime.conventions.convention import A1111
from overpaint.runtime.denoising.blend import Blend
from overpaint.runtime.denoising.job import Conditioning, Job
from overpaint.runtime.denoising.state import lincomb
from overpaint.runtime.sampling.brownian import BrownianNoise
from overpaint.runtime.sampling.compile import compile_plan
from overpaint.runtime.sampling.levels import ModelSchedule
from overpaint.runtime.sampling.names import find_sampler
from overpaint.runtime.sampling.noise import noise_stream
from tests.vectors.toy import KEPT, SEED, SHAPE, clean, toy

SHARE = np.array([[0, 0.3], [0.8, 1]], np.float32)
VECTORS = {
    ("Euler", False): [-1.728, -0.39739, -0.1517, -5.02925, 0.00237, 0.43315, 0.512, 0.06789],
    ("Euler", True): [-1.72799, -0.55416, -0.1517, -4.09478, 0.00237, 0.42699, 0.512, 0.46961],
    ("Euler a", False): [-1.728, -0.17783, -0.1517, -0.30611, 0.00237, -1.14823, 0.512, 0.408],
    ("Euler a", True): [-1.72799, -0.2884, -0.1517, -0.13965, 0.00237, -1.06443, 0.512, 0.8156],
    ("DPM++ 2M", False): [-1.728, -0.41259, -0.1517, -5.63494, 0.00237, 0.44859, 0.512, 0.05538],
    ("DPM++ 2M", True): [-1.72799, -0.52291, -0.1517, -4.53527, 0.00237, 0.44727, 0.512, 0.33273],
    ("DPM++ 3M SDE", False): [-1.728, -2.42385, -0.1517, -1.1237, 0.00237, 1.1135, 0.512, -0.29494],
    ("DPM++ 3M SDE", True): [-1.72799, -2.58199, -0.1517, -0.74233, 0.00237, 1.0587, 0.512, 0.1833],
    ("Heun", False): [-1.728, -0.41873, -0.1517, -4.92656, 0.00237, 0.45123, 0.512, 0.08259],
    ("Heun", True): [-1.72799, -0.54123, -0.1517, -4.0967, 0.00237, 0.44896, 0.512, 0.3949],
    ("DPM2 a", False): [-1.728, -0.29163, -0.1517, -0.45328, 0.00237, -1.12151, 0.512, 0.44783],
    ("DPM2 a", True): [-1.72799, -0.36576, -0.1517, -0.36698, 0.00237, -1.08024, 0.512, 0.67215],
    ("LMS", False): [-1.728, -0.41421, -0.1517, -5.02979, 0.00237, 0.4541, 0.512, 0.07926],
    ("LMS", True): [-1.72799, -0.55939, -0.1517, -4.11745, 0.00237, 0.44851, 0.512, 0.45021],
    ("DDIM", False): [-1.728, -0.39793, -0.1517, -2.58994, 0.00237, 0.39427, 0.512, 0.17606],
    ("DDIM", True): [4.21283, 0.05509, 4.22825, -5.72156, -1.35008, 1.50563, 2.29648, -1.46296],
    ("PLMS", False): [-1.728, -0.41131, -0.1517, -2.60088, 0.00237, 0.41381, 0.512, 0.19084],
    ("PLMS", True): [4.14937, 0.01287, 4.20045, -5.74493, -1.37314, 1.48562, 2.28865, -1.4498],
    ("UniPC", False): [-1.728, -0.40608, -0.1517, -2.59039, 0.00237, 0.40387, 0.512, 0.18425],
    ("UniPC", True): [4.16979, 0.02242, 4.20555, -5.74598, -1.37246, 1.4862, 2.28434, -1.46479],
}
"""Latents after 8 steps of strength 0.75 on the "Automatic" schedule, by sampler and whether the mask is soft."""


def painted(sampler: str, soft: bool, convention: str = "a1111") -> tuple[np.ndarray, Job]:
    own = find_sampler(sampler)[0]
    plan = compile_plan(ModelSchedule(), sampler=own, steps=8, strength=0.75, convention=convention)
    noise = noise_stream("cpu", SEED)
    start = lincomb(plan.start, (clean(), noise(SHAPE)))
    share, soft = (SHARE, 0.5) if soft else (np.rint(SHARE), 0.0)
    blend = Blend(plan, clean(), share, soft, timesteps=own in A1111.by_timesteps)
    conditionings = [[Conditioning(1.0, {})]] * len(plan)
    motion = BrownianNoise(lambda seed: noise_stream("cpu", seed), SEED)
    job = Job(plan, start, conditionings, noise, motion=motion, blend=blend)
    while not job.done:
        for index, row in enumerate(job.rows()):
            output = toy(row.inputs["sample"], row.inputs["timestep"]).astype(np.float32)
            job.receive(index, {"model_output": output})
        job.advance()
    return job.latents, job


@pytest.mark.parametrize(("sampler", "soft"), VECTORS)
def test_latents_are_a1111s(sampler: str, soft: bool) -> None:
    latents, job = painted(sampler, soft)
    # Of a Brownian motion the last bit of a sigma shows, with a mask or without.
    np.testing.assert_allclose(latents.ravel()[KEPT], VECTORS[sampler, soft], atol=2e-3 if "SDE" in sampler else 2e-4)
    assert (job.paste_mask is None) == (not soft)


def test_what_a_hard_mask_keeps_is_the_original_bit_for_bit() -> None:
    latents, _ = painted("Euler a", soft=False)
    assert np.array_equal(latents[:, 0], clean()[:, 0])
