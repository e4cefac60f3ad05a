"""Nodes of ComfyUI that are known and not served: a workflow with one is refused by its name, and why."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..node import Node, node, outputs
from ..sockets import Socket, choice, decimal, integer, link, text

_MERGE = "graphs are compiled, so that models cannot be merged while they run; merge the checkpoints, then export"
_UNCLIP = "models that take a picture's CLIP embedding as text (unCLIP) are not served; use an IP-Adapter"
_GLIGEN = "GLIGEN's layers are not exported; use ConditioningSetArea or ConditioningSetMask"
_STYLE = "style models (Flux Redux) are not served; use an IP-Adapter"
_LOTUS = "the model that makes depth of a picture (Lotus) is not served; load a picture of depth"
_PATCH = "it changes the denoiser's layers, which are compiled; leave the node out"


def _refused(name: str, why: str, gives: tuple[str, ...], **needed: Socket) -> Node:
    def function(context: Context, **inputs: Any) -> None:
        raise AssertionError(f"{name} never runs")

    function.__doc__, function.__qualname__ = f"Not served: {why}.", name
    return node(
        name,
        needed=needed,
        outputs=outputs(*gives),
        category="not served",
        check=lambda bench, **written: f"{name} is not served: {why}",
    )(function)


_MODEL, _CONDITIONING, _SHARE = link("MODEL"), link("CONDITIONING"), decimal(1.0, -10.0, 10.0)

MORE = (
    _refused("ModelMergeSimple", _MERGE, ("MODEL",), model1=_MODEL, model2=_MODEL, ratio=_SHARE),
    _refused("ModelMergeAdd", _MERGE, ("MODEL",), model1=_MODEL, model2=_MODEL),
    _refused("ModelMergeSubtract", _MERGE, ("MODEL",), model1=_MODEL, model2=_MODEL, multiplier=_SHARE),
    _refused("ModelMergeBlocks", _MERGE, ("MODEL",), model1=_MODEL, model2=_MODEL),
    _refused("CLIPMergeSimple", _MERGE, ("CLIP",), clip1=link("CLIP"), clip2=link("CLIP"), ratio=_SHARE),
    _refused("CheckpointSave", _MERGE, (), model=_MODEL, clip=link("CLIP"), vae=link("VAE")),
    _refused("unCLIPCheckpointLoader", _UNCLIP, ("MODEL", "CLIP", "VAE", "CLIP_VISION"), ckpt_name=text()),
    _refused(
        "unCLIPConditioning",
        _UNCLIP,
        ("CONDITIONING",),
        conditioning=_CONDITIONING,
        clip_vision_output=link("CLIP_VISION_OUTPUT"),
        strength=_SHARE,
        noise_augmentation=decimal(0.0, 0.0, 1.0),
    ),
    _refused("GLIGENLoader", _GLIGEN, ("GLIGEN",), gligen_name=text()),
    _refused(
        "GLIGENTextBoxApply",
        _GLIGEN,
        ("CONDITIONING",),
        conditioning_to=_CONDITIONING,
        clip=link("CLIP"),
        gligen_textbox_model=link("GLIGEN"),
        text=text(multiline=True),
        width=integer(64, 8, 16384, 8),
        height=integer(64, 8, 16384, 8),
        x=integer(0, 0, 16384, 8),
        y=integer(0, 0, 16384, 8),
    ),
    _refused("StyleModelLoader", _STYLE, ("STYLE_MODEL",), style_model_name=text()),
    _refused(
        "StyleModelApply",
        _STYLE,
        ("CONDITIONING",),
        conditioning=_CONDITIONING,
        style_model=link("STYLE_MODEL"),
        clip_vision_output=link("CLIP_VISION_OUTPUT"),
        strength=decimal(1.0, 0.0, 10.0, 0.001),
        strength_type=choice(("multiply", "attn_bias")),
    ),
    _refused("LotusConditioning", _LOTUS, ("CONDITIONING",)),
    _refused("FreeU", _PATCH, ("MODEL",), model=_MODEL, b1=_SHARE, b2=_SHARE, s1=_SHARE, s2=_SHARE),
    _refused("FreeU_V2", _PATCH, ("MODEL",), model=_MODEL, b1=_SHARE, b2=_SHARE, s1=_SHARE, s2=_SHARE),
    _refused("HyperTile", _PATCH, ("MODEL",), model=_MODEL),
    _refused("PatchModelAddDownscale", _PATCH, ("MODEL",), model=_MODEL),
    _refused("SelfAttentionGuidance", _PATCH, ("MODEL",), model=_MODEL, scale=_SHARE, blur_sigma=_SHARE),
    _refused(
        "ModelSamplingDiscrete",
        "the prediction is a fact of the exported model; export the checkpoint with the scheduler that it needs",
        ("MODEL",),
        model=_MODEL,
        sampling=choice(("eps", "v_prediction", "lcm", "x0", "img_to_img")),
    ),
)
