"""Writes docs/parity.md: how far every sampler on every schedule is from A1111 and ComfyUI, by the test vectors.

Run it from the repository's root: `python -m tests.vectors.matrix`. It takes minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from overpaint.errors import InputError
from overpaint.runtime.conventions.convention import CONVENTIONS
from tests.vectors.compare import PROGRAMS, compare, of, ours, vectors
from tests.vectors.exceptions import ALLOWED, Allowed, allowed
from tests.vectors.toy import STEPS, STRENGTHS

HEAD = f"""# The same picture as A1111 and ComfyUI: measured

<!-- Written by `python -m tests.vectors.matrix`; the exceptions are those of tests/vectors/exceptions.py. -->

`--convention a1111` and `--convention comfy` against the programs' own code (Stable Diffusion web UI 1.10.1 with the
k-diffusion that it pins, ComfyUI 0.3.64), which ran every sampler on every schedule with {", ".join(map(str, STEPS))}
steps at strengths {", ".join(f"{strength:g}" for strength in STRENGTHS)}, on an analytic model with a seed's own noise.
`tests/vectors/` holds what came out and says how it was made; `tests/runtime/sampling/test_vectors.py` compares.

A cell is the worst difference of final latents, whose own size is about 1, over all steps and strengths; 1e-4 is far
below one 8-bit level. Evaluations and timesteps are equal but where a number refers to an exception.
"""


class Matrix:
    """The worst differences of a program, by sampler and schedule."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.cells: dict[tuple[str, str], float] = {}
        self.reasons: dict[tuple[str, str], set[str]] = {}
        self.schedules = list(dict.fromkeys(vector.schedule for vector in vectors(program)))
        names = dict.fromkeys(vector.sampler for vector in vectors(program))
        self.lacking = [name for name in names if ours(program, name) is None]
        self.samplers = {name: own for name in names if (own := ours(program, name)) is not None}

    def fill(self) -> None:
        """Run every case."""
        for own in dict.fromkeys(self.samplers.values()):
            for vector in of(self.program, own):
                key = vector.sampler, vector.schedule
                exception = allowed(self.program, own, ours(self.program, vector.schedule) or "automatic", vector)
                try:
                    found = compare(self.program, vector)
                except InputError:
                    self._note(key, exception)
                    continue
                self.cells[key] = max(found.latents, self.cells.get(key, 0.0))
                if not found.equal:
                    self._note(key, exception)

    def _note(self, key: tuple[str, str], exception: Allowed | None) -> None:
        reason = exception.reason if exception else "not explained: a fault"
        self.reasons.setdefault(key, set()).add(reason)

    def lines(self) -> Iterator[str]:
        """The program's part of the page."""
        yield f"\n## {CONVENTIONS[self.program].program}\n"
        yield f"| sampler | {' | '.join(self.schedules)} |"
        yield f"| --- |{' --- |' * len(self.schedules)}"
        order = [one.reason for one in ALLOWED if one.program == self.program]
        used = [reason for reason in dict.fromkeys(order) if any(reason in found for found in self.reasons.values())]
        for name in self.samplers:
            cells = [self._cell((name, schedule), used) for schedule in self.schedules]
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""
        for number, reason in enumerate(used, 1):
            yield f"{number}. {reason[0].upper()}{reason[1:]}."
        yield f"\nNot in overpaint: {', '.join(self.lacking)}."

    def _cell(self, key: tuple[str, str], used: list[str]) -> str:
        if key not in self.cells:
            return "–"
        numbers = sorted(used.index(reason) + 1 if reason in used else 0 for reason in self.reasons.get(key, ()))
        text = f"{self.cells[key]:.0e}".replace("e-0", "e-").replace("e+0", "e")
        return text + (f" ({', '.join(map(str, numbers))})" if numbers else "")


def main() -> None:
    """Write the page."""
    parts = [HEAD]
    for program in PROGRAMS:
        matrix = Matrix(program)
        matrix.fill()
        parts.append("\n".join(matrix.lines()) + "\n")
    Path("docs/parity.md").write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
