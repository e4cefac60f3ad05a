"""Writes the weights of a diffusers checkpoint as one file under the names of the original code."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

State = dict[str, torch.Tensor]

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
LABELS = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def write_single_file(folder: Path, path: Path, *, second: bool = False) -> Path:
    """Write the weights of the diffusers checkpoint in `folder` to `path` under the names of 1.x, or of 2.x."""
    state = {f"model.diffusion_model.{name}": t for name, t in _unet(_read(folder / "unet")).items()}
    state |= {f"first_stage_model.{name}": t for name, t in _vae(_read(folder / "vae")).items()}
    text = {name.removeprefix("text_model."): t for name, t in _read(folder / "text_encoder").items()}
    if second:
        state |= {f"cond_stage_model.model.{name}": t for name, t in _open_clip(text).items()}
    else:
        state |= {f"cond_stage_model.transformer.text_model.{name}": t for name, t in text.items()}
        state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state["model_ema.decay"] = torch.tensor(0.9999)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def write_xl_file(folder: Path, path: Path, *, vae: bool = True, dtype: torch.dtype | None = None) -> Path:
    """Write the weights of the SDXL checkpoint in `folder` to `path` under the names that A1111, kohya and ComfyUI
    write; with averages of training among them."""
    state = {f"model.diffusion_model.{_replace(name, LABELS)}": t for name, t in _unet(_read(folder / "unet")).items()}
    first, place = folder / "text_encoder", 0
    if first.is_dir():
        text = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in _read(first).items()}
        state |= {f"conditioner.embedders.0.transformer.{name}": t for name, t in text.items()}
        place = 1
    second = _read(folder / "text_encoder_2")
    projection = second.pop("text_projection.weight").T
    open_clip = _open_clip({name.removeprefix("text_model."): t for name, t in second.items()}, whole=True)
    state |= {f"conditioner.embedders.{place}.model.{name}": t for name, t in open_clip.items()}
    state[f"conditioner.embedders.{place}.model.text_projection"] = projection
    state[f"conditioner.embedders.{place}.model.logit_scale"] = torch.tensor(4.6)
    if vae:
        state |= {f"first_stage_model.{name}": t for name, t in _vae(_read(folder / "vae")).items()}
    state["model_ema.decay"] = torch.tensor(0.9999)
    save_file({name: (t if dtype is None else t.to(dtype)).contiguous() for name, t in state.items()}, path)
    return path


def write_controlnet(folder: Path, path: Path, *, prefix: str = "control_model.") -> Path:
    """Write the weights of the diffusers ControlNet in `folder` to `path` under the original names."""
    state, hint = _read(folder), "controlnet_cond_embedding."
    blocks = sum(name.startswith(f"{hint}blocks.") for name in state) // 2
    table = {f"{hint}conv_in": "input_hint_block.0", f"{hint}conv_out": f"input_hint_block.{2 * blocks + 2}"}
    table |= {f"{hint}blocks.{number}": f"input_hint_block.{2 * number + 2}" for number in range(blocks)}
    table |= {f"controlnet_down_blocks.{number}": f"zero_convs.{number}.0" for number in range(99)}
    table |= {"controlnet_mid_block": "middle_block_out.0", **LABELS}
    own = {name: tensor for name, tensor in state.items() if name.startswith(("controlnet_", "add_embedding."))}
    named = {_replace(name, table): tensor for name, tensor in own.items()}
    named |= _unet({name: tensor for name, tensor in state.items() if name not in own})
    save_file({prefix + name: tensor.contiguous() for name, tensor in named.items()}, path)
    return path


def _read(folder: Path) -> State:
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def _replace(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = re.sub(rf"(^|\.){re.escape(old)}\.", rf"\g<1>{new}.", name)
    return name


def _unet(state: State) -> State:
    layers = 1 + max(int(match[1]) for name in state if (match := re.match(r"down_blocks\.0\.resnets\.(\d+)", name)))

    def rename(name: str) -> str:
        if match := re.match(
            r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
        ):
            side, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
            crossed = any(other.startswith(f"up_blocks.{block}.attentions") for other in state)
            if kind == "downsamplers":
                return f"input_blocks.{(layers + 1) * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
            if kind == "upsamplers":
                return f"output_blocks.{(layers + 1) * block + layers}.{2 if crossed else 1}.{rest}"
            index = (layers + 1) * block + layer
            home = f"input_blocks.{index + 1}" if side == "down" else f"output_blocks.{index}"
            return f"{home}.{'0' if kind == 'resnets' else '1'}.{_resnet(rest, kind)}"
        kind = "resnets" if "resnets" in name else "other"
        return _resnet(_replace(name, UNET), kind)

    return {rename(name): tensor for name, tensor in state.items()}


def _resnet(name: str, kind: str) -> str:
    return _replace(name, RESNET) if kind == "resnets" else name


def _vae(state: State) -> State:
    levels = 1 + max(int(match[1]) for name in state if (match := re.match(r"encoder\.down_blocks\.(\d+)", name)))

    def rename(name: str) -> str:
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", name)
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        if "mid_block.attentions.0" in name:
            return _replace(name.replace("mid_block.attentions.0", "mid.attn_1"), VAE_ATTENTION)
        return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")

    convolved = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")
    return {
        rename(name): tensor[:, :, None, None] if name.endswith(convolved) else tensor for name, tensor in state.items()
    }


def _open_clip(state: State, whole: bool = False) -> State:
    """OpenCLIP's names; unless it is `whole` with a last layer that 2.x does not use."""
    layers = 1 + max(int(match[1]) for name in state if (match := re.match(r"encoder\.layers\.(\d+)", name)))
    dim = state["final_layer_norm.weight"].shape[0]
    renamed = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": torch.eye(dim),
    }
    for layer in range(layers):
        old, new = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
        for end in ("weight", "bias"):
            parts = [state[f"{old}self_attn.{each}_proj.{end}"] for each in "qkv"]
            renamed[f"{new}attn.in_proj_{end}"] = torch.cat(parts)
            renamed |= {f"{new}{there}.{end}": state[f"{old}{here}.{end}"] for here, there in OPEN_CLIP.items()}
    if whole:
        return renamed
    last = f"transformer.resblocks.{layers - 1}."
    unused = {name: t for name, t in renamed.items() if name.startswith(last)}
    return renamed | {name.replace(last, f"transformer.resblocks.{layers}."): t + 1 for name, t in unused.items()}
