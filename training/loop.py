"""What both trainings share: a schedule in time, an average of the weights, and a state that outlives the process."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """How long to train and how the learning rate runs.

    Attributes:
        minutes: training time, over all resumed parts together.
        rate: the highest learning rate.
        warmup: steps of linear rise to it.
        decay: the last part of the time, in which the rate falls to zero along a cosine-free straight line.
        average: decay of the exponential moving average of the weights, a step.
        save_minutes: time between two saved states.
    """

    minutes: float
    rate: float
    warmup: int = 200
    decay: float = 0.3
    average: float = 0.999
    save_minutes: float = 4.0

    def factor(self, step: int, elapsed: float) -> float:
        """The learning rate's factor at a step, `elapsed` minutes into the training."""
        left = max(0.0, 1 - elapsed / self.minutes)
        return min(1.0, (step + 1) / self.warmup, left / self.decay)


def rank() -> int:
    """This process's number among those that train together; 0 is the one that saves and reports."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def agree(values: list[torch.Tensor]) -> None:
    """Replace the values by their means over the processes that train together."""
    if dist.is_initialized():
        flat = torch.cat([value.reshape(-1) for value in values])
        dist.all_reduce(flat)
        flat /= processes()
        for value, part in zip(values, flat.split([value.numel() for value in values]), strict=True):
            value.copy_(part.view(value.shape))


class Trainer:
    """Runs `loss(step)` with AdamW until the budget is spent; saves and resumes weights, average, optimiser and clock.

    Under torch.distributed each process computes its own loss and the gradients are averaged.
    """

    def __init__(self, model: nn.Module, budget: Budget, state: Path, weight_decay: float = 0.01) -> None:
        self.model, self.budget, self.state = model, budget, state
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=budget.rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
        )
        self.average = [p.detach().clone() for p in self.weights]
        self.step, self.elapsed = 0, 0.0
        if state.exists():
            saved = torch.load(state, map_location=self.weights[0].device, weights_only=True)
            model.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.average = saved["average"]
            self.step, self.elapsed = saved["step"], saved["elapsed"]
            log.info("resumed %s at step %d, %.1f min", state.name, self.step, self.elapsed)

    def save(self) -> None:
        """Write the state beside its place and move it there, so that a kill leaves the last good one."""
        part = self.state.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average,
                "step": self.step,
                "elapsed": self.elapsed,
            },
            part,
        )
        os.replace(part, self.state)

    def swap(self) -> None:
        """Exchange the weights and their average; calling it twice restores both."""
        with torch.no_grad():
            for weight, average in zip(self.weights, self.average, strict=True):
                kept = weight.clone()
                weight.copy_(average)
                average.copy_(kept)

    def run(self, loss: Callable[[int], torch.Tensor], images: int, report: Callable[[], None] | None = None) -> None:
        """Train until the minutes are spent; `images` is a step's batch, `report` runs on the average at every save."""
        begun, saved = time.monotonic() - 60 * self.elapsed, self.elapsed
        last, total, count = self.elapsed, 0.0, 0
        while self.elapsed < self.budget.minutes:
            for group in self.optimiser.param_groups:
                group["lr"] = self.budget.rate * self.budget.factor(self.step, self.elapsed)
            value = loss(self.step)
            value.backward()
            # The clock travels with the gradients, so that all processes stop and save at the same step.
            now = torch.tensor((time.monotonic() - begun) / 60, device=value.device)
            agree([now, *(weight.grad for weight in self.weights)])
            self.elapsed = now.item()
            torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            decay = min(self.budget.average, (self.step + 1) / (self.step + 10))
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.weights, 1 - decay)
            self.step, total, count = self.step + 1, total + value.item(), count + 1
            if self.elapsed - last > 0.5:
                speed = count * images / (60 * (self.elapsed - last))
                log.info("step %d, %.1f min, loss %.5f, %.1f pictures/s", self.step, self.elapsed, total / count, speed)
                last, total, count = self.elapsed, 0.0, 0
            if self.elapsed - saved > self.budget.save_minutes or self.elapsed >= self.budget.minutes:
                saved = self.elapsed
                if rank() == 0:
                    self.save()
                    if report:
                        self.swap()
                        report()
                        self.swap()
