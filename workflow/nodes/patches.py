"""Nodes that change how a model is used."""

from __future__ import annotations

from dataclasses import replace

from ...errors import InputError
from ...runtime.model.planning import check_perturbs
from ..context import Context
from ..node import node, outputs
from ..sockets import decimal, link
from ..values import Diffusion

MODEL = link("MODEL")
GIVES = outputs("MODEL")


@node(
    "DifferentialDiffusion",
    needed={"model": MODEL},
    optional={"strength": decimal(1.0, 0.0, 1.0)},
    outputs=GIVES,
    display="Differential Diffusion",
    category="_for_testing",
)
def differential_diffusion(context: Context, model: Diffusion, strength: float = 1.0) -> Diffusion:
    """A mask says from which step on a place is painted anew."""
    return replace(model, differential=strength)


@node(
    "RescaleCFG",
    needed={"model": MODEL, "multiplier": decimal(0.7, 0.0, 1.0)},
    outputs=GIVES,
    category="advanced/model",
)
def rescale_cfg(context: Context, model: Diffusion, multiplier: float) -> Diffusion:
    """Guidance whose spread is drawn towards the conditional prediction's."""
    prediction = model.model.bundle.model.scheduler.get("prediction_type", "epsilon")
    if prediction != "v_prediction":
        raise InputError(
            f"RescaleCFG is served for models that predict v, this one predicts {prediction}; leave the node out"
        )
    return replace(model, rescale=multiplier)


@node(
    "PerturbedAttentionGuidance",
    needed={"model": MODEL, "scale": decimal(3.0, 0.0, 100.0)},
    outputs=GIVES,
    category="model_patches/unet",
)
def perturbed_attention_guidance(context: Context, model: Diffusion, scale: float) -> Diffusion:
    """Guidance away from what the model makes without attention in its middle."""
    if scale:
        check_perturbs(model.model.bundle)
    return replace(model, perturbed=scale)
