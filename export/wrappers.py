"""Modules with the flat signatures of a bundle's graphs: tensors in, a tuple of tensors out, float32 at the seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from .adapters import CONTROL, KEYS, PERTURBED, VALUES, Addend, attend_to_images, perturb_attention
from .components import GUIDANCE


class TextEncoder(nn.Module):
    """`input_ids` int64 [rows, tokens], `vectors` [rows, tokens, dim], `clip_skip` int64 [] -> `embeddings`
    [rows, tokens, dim], `pooled` [rows, dim].

    A negative id stands for no token: its place takes its embedding from `vectors`, which are not heeded elsewhere
    (textual inversion). The embeddings are the hidden states before the last `clip_skip` layers, through the final
    layer norm; `pooled` is the last layer's state at the end-of-text token. With `penultimate`, as SDXL has it, one
    more layer is passed over and the norm is left out, and a model with a projection gives `pooled` through that.
    """

    def __init__(self, model: CLIPTextModel | CLIPTextModelWithProjection, penultimate: bool = False) -> None:
        super().__init__()
        self.model = model
        self.penultimate = penultimate

    def forward(self, input_ids: Tensor, vectors: Tensor, clip_skip: Tensor) -> tuple[Tensor, Tensor]:
        """Encode rows of token ids."""
        placed = input_ids < 0

        def insert(_module: nn.Module, _inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
            return torch.where(placed[..., None], vectors.to(embedded.dtype), embedded)

        with self.model.get_input_embeddings().register_forward_hook(insert):
            outputs = self.model(input_ids.masked_fill(placed, 0), output_hidden_states=True)
        states = torch.stack(outputs.hidden_states)
        chosen = (states.shape[0] - 1 - int(self.penultimate) - clip_skip).reshape(1)
        embeddings = states.index_select(0, chosen).squeeze(0)
        if not self.penultimate:
            embeddings = getattr(self.model, "text_model", self.model).final_layer_norm(embeddings)
        pooled = outputs.text_embeds if "text_embeds" in outputs else outputs.pooler_output
        return embeddings.float(), pooled.float()


class Geglu(nn.Module):
    """GEGLU (Shazeer 2020, "GLU Variants Improve Transformer", equation 6) as two products, which engines fuse with
    what follows each, in place of diffusers' one, whose halves they have to copy. The weights are `proj`'s own."""

    def __init__(self, proj: nn.Linear) -> None:
        super().__init__()
        self.hidden, self.gate = (
            as_linear(*half) for half in zip(proj.weight.chunk(2), proj.bias.chunk(2), strict=True)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Widen the states."""
        hidden: Tensor = self.hidden(states)
        return hidden * functional.gelu(self.gate(states))


def as_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer of these weights, which are not copied."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)
    return linear


class UNet(nn.Module):
    """`sample` [rows, channels, height, width], `timestep` [rows], `encoder_hidden_states` [rows, tokens, dim], and
    what `others` names -> `model_output` [rows, latent channels, height, width]; every row has its own timestep.

    `others` may be `adapters.residuals`, which broadcast; `image_keys` and `image_values` [rows, tokens, width];
    `perturbed` [rows], how far the attention in the middle is left out;
    SDXL's `text_embeds` [rows, dim] and `time_ids` [rows, numbers]; and `timestep_cond` [rows, dim], a consistency
    model's embedding of the guidance.
    """

    widened = False
    """Do its layers compute in float32, whatever their weights are? See `streamed.in_float32`."""

    def __init__(self, model: UNet2DConditionModel, others: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model
        self._others = tuple(others)
        self._image = attend_to_images(model) if KEYS in others else []
        self._perturbed = perturb_attention(model) if PERTURBED in others else []
        for feed_forward in [module for module in model.modules() if isinstance(module, FeedForward)]:
            if isinstance(feed_forward.net[0], GEGLU):
                feed_forward.net[0] = Geglu(feed_forward.net[0].proj)

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, *others: Tensor
    ) -> tuple[Tensor]:
        """Evaluate the denoiser once for each row."""
        dtype = self.dtype
        given = dict(zip(self._others, others, strict=True))
        self.show(given)
        addends = [Addend(array) for name, array in given.items() if name.startswith(CONTROL)]
        output = self.model(
            sample.to(dtype),
            timestep,
            encoder_hidden_states.to(dtype),
            timestep_cond=self.guidance(given, dtype),
            added_cond_kwargs=given,
            down_block_additional_residuals=addends[:-1] or None,
            mid_block_additional_residual=addends[-1] if addends else None,
            return_dict=False,
        )[0]
        return (output.float(),)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its arithmetic."""
        return torch.float32 if self.widened else self.model.dtype

    def show(self, given: Mapping[str, Tensor]) -> None:
        """Have its attentions see the image prompts among its inputs, and those in the middle whether they count."""
        for processor in self._image:
            processor.keys, processor.values = given[KEYS], given[VALUES]
        for gated in self._perturbed:
            gated.gate = given[PERTURBED]

    def guidance(self, given: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor | None:
        """A consistency model's embedding of the guidance among its inputs."""
        embedding = given.get(GUIDANCE)
        return None if embedding is None else embedding.to(dtype)


class VaeEncoder(nn.Module):
    """`pixels` [rows, 3, height, width] in [-1, 1] -> `mean` and `std` [rows, channels, h, w], unscaled."""

    def __init__(self, model: AutoencoderKL) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Give the distribution of the latents."""
        distribution = self.model.encode(pixels.to(self.model.dtype)).latent_dist
        return distribution.mean.float(), distribution.std.float()


class TinyVaeEncoder(nn.Module):
    """`pixels` [rows, 3, height, width] in [-1, 1] -> `mean` [rows, channels, h, w], unscaled; it has no `std`."""

    def __init__(self, model: AutoencoderTiny) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Give the latents."""
        return (self.model.encode(pixels.to(self.model.dtype)).latents.float(),)


class Upscaler(nn.Module):
    """`pixels` [rows, 3, height, width] in [0, 1] -> `upscaled` [rows, 3, h, w], about [0, 1], not clipped."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        """Enlarge pictures."""
        return (self.model(pixels.to(next(self.model.parameters()).dtype)).float(),)


class VaeDecoder(nn.Module):
    """`latents` [rows, channels, h, w], unscaled -> `pixels` [rows, 3, height, width], about [-1, 1], not clipped."""

    def __init__(self, model: AutoencoderKL | AutoencoderTiny) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        """Turn latents into pixels."""
        return (self.model.decode(latents.to(self.model.dtype)).sample.float(),)
