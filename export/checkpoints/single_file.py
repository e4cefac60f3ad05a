"""A checkpoint kept as one .safetensors file under the names of the original (CompVis, Stability) code.

The architecture is read off the tensors' shapes, so nothing is looked up on the network. What the model predicts, which
shapes cannot tell, is read off markers (`predicts.py`); where a file of 2.x has none, it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel

from ...errors import InputError
from ..components import Config
from . import clip, predicts
from .checkpoint import Checkpoint, State, read_tensors
from .clip import Clip
from .single_configs import (
    LAYERS,
    LAYOUTS,
    UNET,
    VAE,
    Layout,
    clip_config,
    open_clip_config,
    scheduler_config,
    unet_config,
    vae_config,
)


def open_single_file(
    path: Path,
    tokenizer: Path | None,
    prediction_type: str | None,
    zero_snr: bool | None = None,
    vae: Path | None = None,
) -> Checkpoint:
    """Open a file of Stable Diffusion 1.x (CLIP text encoder, 768 wide), 2.x (OpenCLIP, 1024 wide) or XL (both, or of
    its refiner OpenCLIP, 1280 wide). With a `vae` of its own the file's is left out, see `vaes.with_vae`.

    `prediction_type` and `zero_snr` None are what the file says, see `predicts.read`; a file of 1.x or XL that says
    nothing predicts epsilon. Raises `InputError` where the file is of another kind, or one of the arguments is needed
    and missing.
    """
    state = read_tensors([path])
    layout = _layout(path, state, vae is None)
    says = predicts.read(path, state, prediction_type, zero_snr)
    if layout.name == "2.x" and says.type is None:
        raise InputError(
            f"{path}: weights of 2.x do not tell what they predict; say --prediction-type v_prediction for 2.x at "
            "768 px, or epsilon for a base model at 512 px"
        )
    prediction = says.type or "epsilon"
    try:
        configs = _configs(state, layout, prediction, says.zero_snr, vae is None)
    except (KeyError, IndexError, ValueError) as exc:
        raise InputError(
            f"{path}: is not laid out as Stable Diffusion {layout.name} ({exc}); name another file"
        ) from exc
    _check_words(path, configs, layout, tokenizer)
    origin = {"checkpoint": path.name, "format": f"single file, {layout.name}"}
    if says.source:
        origin["prediction"] = f"{prediction}{', zero terminal SNR' if says.zero_snr else ''} ({says.source})"
    used = {name: tensor for name, tensor in state.items() if _is_used(name, layout)}
    surplus = tuple(sorted(state.keys() - used.keys() - set(predicts.MARKERS)))
    words: dict[str, Path | Clip] = {part: Clip() if part == "text_encoder" else Clip("!") for part in layout.prefixes}
    if layout.name == "2.x":
        words["text_encoder"] = Clip("!")
    if tokenizer is not None:
        words = dict.fromkeys(words, tokenizer)
    return Checkpoint(
        configs,
        words,
        lambda part: _convert(used, part, configs, layout),
        origin,
        surplus,
        zero_empty_negative=layout.name == "XL",
        files=(path,),
    )


def _layout(path: Path, state: State, vae: bool) -> Layout:
    """The layout of a file; raises `InputError` for none, and where the VAE that it should have is missing."""

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in state)

    fits = [layout for layout in LAYOUTS if all(map(has, layout.prefixes.values()))]
    sizes = has(f"{UNET}label_emb.")
    if not has(UNET) or not fits:
        raise InputError(
            f"{path}: does not hold a text encoder, a U-Net and a VAE of Stable Diffusion 1.x, 2.x or XL under their "
            "original names; name a whole checkpoint of this family, or a diffusers folder"
        )
    if sizes != fits[0].xl:
        raise InputError(
            f"{path}: its U-Net takes {'class labels or ' if sizes else 'no '}sizes, its text encoders are those of "
            f"{fits[0].name}"
        )
    if vae and not has(VAE):
        raise InputError(f"{path}: has no VAE; name one with --vae, a diffusers folder or a .safetensors file")
    return fits[0]


def _configs(state: State, layout: Layout, prediction: str, zero_snr: bool, vae: bool) -> dict[str, Config]:
    """The configurations of all parts."""
    size = 128 if layout.xl else 96 if layout.name == "2.x" and prediction == "v_prediction" else 64
    texts = {
        part: clip_config(state, prefix) if prefix == layout.clip else open_clip_config(state, prefix, layout.xl)
        for part, prefix in layout.prefixes.items()
    }
    return {
        **texts,
        "unet": unet_config(state, layout, size),
        **({"vae": vae_config(state, layout.xl)} if vae else {}),
        "scheduler": {**scheduler_config(prediction, layout.xl), **(predicts.ZERO_SNR if zero_snr else {})},
    }


def _check_words(path: Path, configs: Mapping[str, Config], layout: Layout, tokenizer: Path | None) -> None:
    """Raise `InputError` where a text encoder has another vocabulary than CLIP's and no tokenizer is named."""
    for part in layout.prefixes:
        count = configs[part]["vocab_size"]
        if tokenizer is None and count != clip.SIZE:
            raise InputError(
                f"{path}: its {part.replace('_', ' ')} has {count} tokens, CLIP's vocabulary {clip.SIZE}, and a "
                "single file holds no tokenizer; name the folder of its own with --tokenizer"
            )


def _is_used(name: str, layout: Layout) -> bool:
    """Whether a part may need a tensor: not the averages of training, its losses, and what 2.x leaves out of its text
    encoder."""
    if name.startswith(VAE):
        return name.removeprefix(VAE).partition(".")[0] in ("encoder", "decoder", "quant_conv", "post_quant_conv")
    if layout.open_clip and name.startswith(layout.open_clip):
        own = name.removeprefix(layout.open_clip)
        names = ("token_embedding.", "positional_embedding", "ln_final.", "transformer.")
        needed = own.startswith((*names, "text_projection") if layout.xl else names)
        return needed and (layout.xl or not own.startswith(f"transformer.resblocks.{LAYERS}."))
    return name.startswith(UNET) or bool(layout.clip and name.startswith(layout.clip))


def _convert(state: State, part: str, configs: Mapping[str, Config], layout: Layout) -> State:
    """A part's weights under diffusers' names; raises as `load` where they do not fit."""
    if part == "unet":
        return dict(convert_ldm_unet_checkpoint(state, configs["unet"]))
    if part == "vae":
        return dict(convert_ldm_vae_checkpoint(state, configs["vae"]))
    prefix = layout.prefixes[part]
    own = {name: tensor for name, tensor in state.items() if name.startswith(prefix)}
    if prefix == layout.clip:
        return dict(convert_ldm_clip_checkpoint(own))
    config = CLIPTextConfig.from_dict(dict(configs[part]))
    with torch.device("meta"):
        shape = CLIPTextModel(config)
    return dict(convert_open_clip_checkpoint(shape, own, prefix=prefix))
