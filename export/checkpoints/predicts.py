"""What the model of a single file predicts, and whether its schedule ends at pure noise: what files say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError, unknown
from .checkpoint import read_metadata
from .load import PREDICTIONS

V_PRED, ZTSNR = MARKERS = ("v_pred", "ztsnr")
"""Empty tensors that trainers put into files: the model predicts v; its schedule has zero terminal SNR."""

METADATA = "modelspec.prediction_type"
"""Of Stability AI's model metadata standard (`ModelSpec`)."""

WORDS = {"v": "v_prediction", "v-prediction": "v_prediction", "eps": "epsilon"}

ZERO_SNR: Mapping[str, Any] = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
"""The scheduler's settings: Lin et al. (arXiv:2305.08891), sections 3.1 and 3.3."""


@dataclass(frozen=True)
class Prediction:
    """What a model predicts; None where nobody says. `source` names who says it, "" where the caller does."""

    type: str | None
    zero_snr: bool
    source: str


def read(path: Path, names: Iterable[str], prediction_type: str | None, zero_snr: bool | None) -> Prediction:
    """What a .safetensors file with tensors of these names says, but for the arguments that are not None.

    Raises `InputError` where the file contradicts itself, and for zero terminal SNR of a model that predicts noise,
    which has nothing to predict there.
    """
    names = set(names)
    says = _says(path, names) if prediction_type is None else {}
    if len(kinds := set(says.values())) > 1:
        raise InputError(
            f"{path}: says by {' and by '.join(f'{source} {kind}' for source, kind in says.items())} what it predicts; "
            "choose one with --prediction-type"
        )
    kind = prediction_type or next(iter(kinds), None)
    zero = ZTSNR in names if zero_snr is None else zero_snr
    if zero and (kind or "epsilon") == "epsilon":
        raise InputError(
            f"{path}: predicts noise by what is known, and that cannot be with zero terminal SNR; "
            "say --prediction-type v_prediction, or --no-zero-snr"
        )
    sources = [*says, *([f"its key {ZTSNR}"] if zero and zero_snr is None else [])]
    return Prediction(kind, zero, ", ".join(sources))


def _says(path: Path, names: set[str]) -> dict[str, str]:
    """Prediction types by what in the file says them."""
    says = {f"its key {V_PRED}": "v_prediction"} if V_PRED in names else {}
    if word := read_metadata(path).get(METADATA):
        kind = WORDS.get(word.lower(), word.lower())
        if kind not in PREDICTIONS:
            raise unknown(f"prediction type of {METADATA}", word, PREDICTIONS)
        says[f"its {METADATA}"] = kind
    return says
