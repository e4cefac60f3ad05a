"""What is made of the figures: the table of peers, the ratios to reach, the projected time. No measuring here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from overpaint.runtime.diagnostics.bench import Spread

from .peer import COMPILED, DIFFUSERS, FLOOR, GENAI, OURS, RAW, Peer
from .work import Work

# Seconds, megabytes or decibels by what was measured, by peer.
Measured = Mapping[str, Mapping[str, Sequence[float]]]
Key = tuple[str, str]  # a peer's label, what was measured

HEADER = (
    "what runs it",
    "precision",
    "a picture, s",
    "p95",
    "p99",
    "second prompt, s",
    "same prompt, s",
    "U-Net step, s",
    "VAE encode, s",
    "VAE decode, s",
    "cold start, s",
    "peak memory, MB",
    "PSNR to diffusers f32, dB",
)
# Of the machine's best matrix product; what a picture is projected from.
USUAL_EFFICIENCY = 0.6
USUAL_START = 30.0


@dataclass(frozen=True)
class Target:
    """A figure to reach: `ours` over `theirs`, or `ours` alone, at most (or at least) `limit`."""

    what: str
    ours: Key
    theirs: Key | None
    limit: float
    at_least: bool = False

    def row(self, measured: Measured) -> tuple[str, str, str, str]:
        """A row of the table of targets."""
        sign, target = (
            (">=" if self.at_least else "<="),
            f"{self.limit:g}" if self.at_least or self.theirs is None else f"{self.limit:.2f}",
        )
        value = self.value(measured)
        if value is None:
            return self.what, f"{sign} {target}", "not measured", ""
        reached = value >= self.limit if self.at_least else value <= self.limit
        return self.what, f"{sign} {target}", f"{value:.3g}", "yes" if reached else "no"

    def value(self, measured: Measured) -> float | None:
        """The figure, or None where a part of it was not measured."""
        values = [middle(measured, key) for key in (self.ours, self.theirs) if key]
        if None in values:
            return None
        return values[0] if self.theirs is None else values[0] / values[1]


_BF16, _INT8, _GENAI = f"{OURS} bf16", f"{OURS} int8", f"{GENAI} bf16"
TARGETS = (
    Target("U-Net step, bf16, to OpenVINO alone on the same graph", (_BF16, "unet"), (f"{RAW} bf16", "unet"), 1.02),
    Target("U-Net step, bf16, to its operations at the bf16 matmul peak", (_BF16, "unet"), (FLOOR, "unet bf16"), 1.25),
    Target("U-Net step, int8 to bf16", (_INT8, "unet"), (_BF16, "unet"), 0.67),
    Target("int8's PSNR to diffusers f32, dB", (_INT8, "psnr"), None, 30, at_least=True),
    Target("picture, f32, to openvino-genai f32", (f"{OURS} f32", "picture"), (f"{GENAI} f32", "picture"), 1.00),
    Target("picture, bf16, to openvino-genai bf16", (_BF16, "picture"), (_GENAI, "picture"), 1.00),
    Target("picture, int8, to openvino-genai bf16", (_INT8, "picture"), (_GENAI, "picture"), 0.70),
    Target("picture, int8, to openvino-genai int8", (_INT8, "picture"), (f"{GENAI} int8", "picture"), 1.00),
    Target("second prompt, bf16, to openvino-genai bf16", (_BF16, "again"), (_GENAI, "picture"), 0.85),
    Target("second prompt, int8, to openvino-genai bf16", (_INT8, "again"), (_GENAI, "picture"), 0.85),
    Target("picture, bf16, to diffusers f32", (_BF16, "picture"), (f"{DIFFUSERS} f32", "picture"), 0.40),
    Target("picture, bf16, to diffusers bf16", (_BF16, "picture"), (f"{DIFFUSERS} bf16", "picture"), 0.75),
    Target("peak memory, bf16, to openvino-genai bf16", (_BF16, "memory"), (_GENAI, "memory"), 1.00),
)
_F16 = f"{OURS} f16"
_AHEAD = (
    *(
        Target(f"{what} to torch.compile {mode}", (_F16, stage), (f"{DIFFUSERS} {precision}", stage), 1.00)
        for mode, precision in COMPILED.items()
        for what, stage in (("U-Net step", "unet"), ("picture", "picture"))
    ),
    Target("picture to diffusers bf16", (_F16, "picture"), (f"{DIFFUSERS} bf16", "picture"), 0.75),
)
# Of the Stable Diffusion 1.5 configuration at 512 x 512 on an H200.
GUIDED = (Target("U-Net step with guidance, s", (_F16, "unet"), None, 0.0095), *_AHEAD)
ONE_STEP = (
    Target("picture in one step with the tiny VAE, s", (_F16, "picture"), None, 0.005),
    Target("the same with the prompt of the one before, s", (_F16, "frame"), None, 0.005),
    *_AHEAD,
)


def targets(device: str, work: Work) -> tuple[Target, ...]:
    """The figures to reach on a device."""
    if device == "cpu":
        return TARGETS
    return GUIDED if work.rows == 2 else ONE_STEP


def middle(measured: Measured, key: Key) -> float | None:
    """The median of what was measured under a key, None where nothing was."""
    values = measured.get(key[0], {}).get(key[1])
    return median(values) if values else None


def derived(measured: Measured) -> Measured:
    """The figures with the reference ones: OpenVINO alone as the better of its two ways, and the floor of a step."""
    found = {label: dict(figures) for label, figures in measured.items()}
    for label, figures in found.items():
        if label.startswith(RAW):
            ways = [figures[way] for way in ("unet in one call", "unet row by row")]
            figures["unet"] = min(ways, key=median)
    floor = found.pop(f"{FLOOR} all", None)
    if floor:
        rates = {precision: peak(floor, precision) for precision in ("f32", "bf16")}
        found[FLOOR] = {f"unet {name}": [floor["unet flop"][0] / rate] for name, rate in rates.items()}
    return found


def peak(floor: Mapping[str, Sequence[float]], precision: str) -> float:
    """Operations a second of the faster library's matrix product, at its median."""
    seconds = min(median(floor[f"matmul {library} {precision}"]) for library in ("torch", "openvino"))
    return floor["matmul flop"][0] / seconds


def peer_row(peer: Peer, figures: Mapping[str, Sequence[float]]) -> tuple[str, ...]:
    """A row under HEADER."""

    def shown(name: str, form: str) -> str:
        return f"{median(figures[name]):{form}}" if name in figures else "-"

    spread = Spread.of(figures["picture"]) if "picture" in figures else None
    pictures = [f"{value:#.4g}" for value in (spread.median, spread.p95, spread.p99)] if spread else ["-"] * 3
    parts = [shown(name, "#.4g") for name in ("again", "frame", "unet", "encode", "decode")]
    rest = [shown("cold", ".2f"), shown("memory", ".0f"), shown("psnr", ".1f")]
    return (peer.name, peer.precision, *pictures, *parts, *rest)


def floor_lines(floor: Mapping[str, Sequence[float]]) -> str:
    """What the machine does at most, in words."""
    rates = ", ".join(f"{name} {peak(floor, name) / 1e12:.3f} TFLOP/s" for name in ("f32", "bf16"))
    operations = ", ".join(
        f"{name} {floor[f'{stage} flop'][0] / 1e12:.4f}"
        for name, stage in (("U-Net step", "unet"), ("VAE encode", "encode"), ("VAE decode", "decode"))
    )
    return f"Matrix products reach {rates}; TFLOP of a {operations}."


def projected(peers: Sequence[Peer], work: Work, rounds: int, floor: Mapping[str, Sequence[float]]) -> float:
    """About how many seconds the whole measurement takes, from operations and the machine's matrix products."""
    stage = {name: floor[f"{name} flop"][0] for name in ("unet", "encode", "decode")}
    picture = stage["unet"] * work.executed + stage["encode"] + stage["decode"]
    flop = picture * (1 + work.warmup + work.repeats) + sum(stage.values()) * (1 + work.stage_repeats)
    painters = [peer for peer in peers if peer.name not in (FLOOR, RAW)]
    rates = [peak(floor, "f32" if peer.precision == "f32" else "bf16") * USUAL_EFFICIENCY for peer in painters]
    return rounds * sum(flop / rate + USUAL_START for rate in rates)
