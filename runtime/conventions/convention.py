"""What programs do without being asked: one frozen record a program, to be read beside its source.

A convention decides what a request leaves open, and how strength, steps and seeds are meant. What a request gives
explicitly wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ...errors import unknown
from . import masks, seeds, tiles
from .masks import MaskRule
from .seeds import SeedRule
from .tiles import TileRule

# Solvers of diffusers that neither A1111 nor ComfyUI has.
_OF_DIFFUSERS = frozenset({"tcd", "pndm", "dpmpp_3m", "dpmpp_2s", "dpmpp_3s", "deis_1", "deis_3"}) | {
    f"dpmsolver_{order}" for order in ("2m", "3m", "2s", "3s")
}
# Those of ComfyUI that A1111 has not.
_OF_COMFY = frozenset({
    "ipndm", "ipndm_v", "heunpp2", "gradient_estimation", "res_multistep", "res_multistep_a", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece",
})  # fmt: skip
_BROWNIAN = frozenset({"dpmpp_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"})


@dataclass(frozen=True)
class Convention:
    """The habits of a program. Samplers and schedules go by overpaint's own names."""

    name: str
    program: str
    """Whose habits they are, with the version that they were read from."""

    posterior: str = "sample"
    """Are the VAE's latents drawn ("sample"), or their mean ("mode")?"""
    noise: str = "cpu"
    """The generator: torch's on a CPU, or on a GPU."""
    first_draw: str = "latents"
    """What a seed's first draw is for: the VAE's "latents", or the "noise" that the run starts with."""
    step_noise: SeedRule = seeds.GOES_ON
    """Does the noise of steps go on after the first noise, or begin again from the seed?"""
    brownian: frozenset[str] = frozenset()
    """Samplers whose step noise is one Brownian motion in sigma, of the seed."""
    eight_bits: str = "round"
    """Pixels become 8-bit by "round" or by "cut"."""
    masks: MaskRule = masks.OURS
    """What it does under a mask."""
    tiles: TileRule = tiles.OURS
    """How it upscales in tiles."""
    prompt_syntax: str = "a1111"
    """How prompts are read, see `prompt.prompt.SYNTAXES`."""
    zero_negative: bool = True
    """Does it take zeros for an empty negative prompt where the model was trained so?"""
    prompt_steps: str = "steps"
    """Prompt editing counts "steps", or "evaluations" of the model, each text for one of them longer."""

    grid: str = "diffusers"
    """Who lays out the sigmas: "diffusers" (the checkpoint's spacing, over which named schedules are stretched),
    "a1111" or "comfy" (the model's whole range, whatever the spacing)."""
    schedule: str | None = None
    """The schedule where none is named; None is the checkpoint's spacing, or the sampler's own."""
    schedules: tuple[tuple[str, frozenset[str]], ...] = ()
    """Other schedules than `schedule`, and the samplers that have them where none is named."""
    discards: frozenset[str] = frozenset()
    """Samplers that get a schedule of one step more, without the sigma before the last."""
    lacks: frozenset[str] = frozenset()
    """Samplers that the program has not; they run as in diffusers."""
    etas: tuple[tuple[str, float], ...] = ()
    """Other defaults of eta than the samplers' own, by sampler."""
    by_timesteps: frozenset[str] = frozenset()
    """Samplers that run on every (train // steps)-th timestep plus 1, and never evaluate the lowest of them."""
    whole_timesteps: bool = False
    """Is the model given the nearest whole timestep of a sigma, rather than a fractional one?"""

    lms_ends_denoised: bool = False
    """Does LMS end with the predicted image, rather than with a multistep update?"""
    lcm_boundary: bool = True
    """Does LCM mix x into its prediction near the end (c_skip and c_out of its paper)?"""
    unipc: tuple[str, int] = ("bh2", 2)
    """UniPC's B(h) and its highest order."""

    def schedule_of(self, sampler: str) -> str | None:
        """The schedule of a sampler where none is named."""
        return next((schedule for schedule, samplers in self.schedules if sampler in samplers), self.schedule)


CONTRACT = Convention("contract", "overpaint")

A1111 = Convention(
    "a1111",
    "Stable Diffusion web UI 1.10.1",
    # It draws the latents from torch's global generator, which nothing seeds there; only the mean can be made again.
    posterior="mode",
    noise="gpu",  # opts.randn_source
    first_draw="noise",  # processing.py: p.rng is made after p.init has encoded the picture
    brownian=_BROWNIAN,
    eight_bits="cut",
    masks=masks.A1111,
    tiles=tiles.ULTIMATE,
    prompt_syntax="a1111-exact",
    prompt_steps="evaluations",
    grid="a1111",
    schedule="normal",  # sd_samplers_kdiffusion.py, get_sigmas: "Automatic" without a schedule in the sampler's options
    schedules=(
        ("karras", frozenset({"dpmpp_2m", "dpmpp_sde", "dpmpp_2s_a", "dpm2", "dpm2_a", "restart"})),
        ("exponential", frozenset({"dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_3m_sde"})),
    ),
    discards=frozenset({"dpm2", "dpm2_a", "dpmpp_3m_sde"}),  # discard_next_to_last_sigma
    lacks=_OF_DIFFUSERS | _OF_COMFY | {"ddpm", "deis"},
    etas=(("dpm_fast", 1.0),),  # opts.eta_ancestral goes to every k-diffusion sampler that takes an eta
    by_timesteps=frozenset({"ddim", "plms", "unipc", "unipc_bh2"}),  # sd_samplers_timesteps.py
    unipc=("bh1", 3),  # opts.uni_pc_variant, uni_pc_order
)

COMFY = Convention(
    "comfy",
    "ComfyUI 0.3.64",
    posterior="mode",  # latents are moments' means: comfy/ldm/models/autoencoder.py
    first_draw="noise",
    zero_negative=False,  # its CLIPTextEncode encodes an empty text as any other
    step_noise=seeds.COMFY,
    brownian=_BROWNIAN,
    eight_bits="cut",
    prompt_syntax="comfy-exact",
    grid="comfy",
    schedule="simple",  # samplers.py, KSampler: the first of its list
    discards=frozenset({"dpm2", "dpm2_a", "unipc", "unipc_bh2"}),  # DISCARD_PENULTIMATE_SIGMA_SAMPLERS
    lacks=_OF_DIFFUSERS | {"plms", "restart"},
    whole_timesteps=True,  # model_sampling.py, ModelSamplingDiscrete.timestep
    lms_ends_denoised=True,
    lcm_boundary=False,
    unipc=("bh1", 3),
)

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            CONTRACT,
            Convention("continuous", "overpaint"),
            Convention("diffusers", "diffusers 0.36"),
            A1111,
            COMFY,
        )
    }
)


def convention(name: str) -> Convention:
    """A convention by its name; raises `InputError` for one that does not exist."""
    if name not in CONVENTIONS:
        raise unknown("strength convention", name, CONVENTIONS)
    return CONVENTIONS[name]
