"""sam-tiny with its text encoder and projection, and the initialisation that makes it learn."""

import math
from pathlib import Path
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from mmseg_ssprompt.models.sam.sam_variants import build_sam

__all__ = ['SamTiny', 'TinyTextEncoder', 'initialise_decoder']


class _Block(nn.Module):
    """CLIP's residual attention block under CLIP's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module('c_fc', nn.Linear(width, 4 * width))
        self.mlp.add_module('c_proj', nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.mlp.c_fc(self.ln_2(x))
        return x + self.mlp.c_proj(y * torch.sigmoid(1.702 * y))  # QuickGELU


class TinyTextEncoder(nn.Module):
    """CLIP's text encoder at small size, in the plain state-dict naming of OpenAI's CLIP."""

    def __init__(self, width: int = 32, layers: int = 2, heads: int = 2, embed: int = 64) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(49408, width)
        self.positional_embedding = nn.Parameter(torch.randn(77, width) * 0.05)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed) * width**-0.5)
        nn.init.normal_(self.token_embedding.weight, std=0.2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (S, L) to unit vectors (S, E)."""
        length = tokens.shape[1]
        mask = torch.full((length, length), -math.inf).triu(1)
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        for block in self.transformer.resblocks:
            x = block(x, mask)
        ends = tokens.argmax(dim=1)  # the end-of-text token has the highest id
        x = self.ln_final(x)[torch.arange(len(tokens)), ends]
        return F.normalize(x @ self.text_projection, dim=-1)


class SamTiny(nn.Module):
    """Everything that is pre-trained.

    Attributes:
        sam: segment_anything's own model of the variant 'tiny'.
        text: The text encoder.
        projection: From mask tokens (D) to the text space (E).
        no_object: (E,), the direction of masks that are nothing.
        logit_scale: Natural logarithm of the factor on cosines.
    """

    def __init__(self, width: int = 96, embed: int = 64) -> None:
        super().__init__()
        self.sam = build_sam('tiny')
        self.text = TinyTextEncoder(embed=embed)
        self.projection = nn.Linear(width, embed)
        self.no_object = nn.Parameter(torch.randn(embed))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(12.0)))

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, D, h, w); in bfloat16 where that is twice as fast, in training."""
        with torch.autocast('cpu', torch.bfloat16, enabled=self.training):
            return self.sam.image_encoder(images).float()

    def encode_points(self, points: Tensor) -> Tensor:
        """Points (B, N, 2), (x, y) in pixels, to sparse prompts (B, N, 2, D)."""
        coords = points.flatten(0, 1).unsqueeze(1)
        ones = torch.ones(coords.shape[:2], dtype=torch.int)
        sparse, _ = self.sam.prompt_encoder((coords, ones), None, None)
        return sparse.unflatten(0, points.shape[:2])

    def image_inputs(self) -> Tuple[Tensor, Tensor]:
        """Positional encoding and dense prompt of the image, (1, D, h, w) each."""
        encoder = self.sam.prompt_encoder
        dense = encoder.no_mask_embed.weight[..., None, None]
        return encoder.get_dense_pe(), dense.expand(-1, -1, *encoder.image_embedding_size)

    def classify(self, tokens: Tensor, text: Tensor) -> Tensor:
        """Mask tokens (..., D) and class embeddings (C, E) to logits (..., C + 1)."""
        names = torch.cat([text, F.normalize(self.no_object, dim=0)[None]])
        scale = self.logit_scale.exp().clamp(max=100)
        return scale * F.normalize(self.projection(tokens), dim=-1) @ names.t()

    def asset_parts(self) -> Dict[str, Dict[str, Tensor]]:
        """State dicts by the name of the file they are kept in."""
        projection = {
            'projection.weight': self.projection.weight,
            'projection.bias': self.projection.bias,
            'no_object': self.no_object,
            'logit_scale': self.logit_scale,
        }
        text = dict(self.text.state_dict(), logit_scale=self.logit_scale)
        return {
            'sam-tiny_shapes.pth': self.sam.state_dict(),
            'clip-tiny_shapes.pth': text,
            'projection-tiny_shapes.pth': projection,
        }

    def save(self, folder: Path) -> None:
        """Write the weights as float16, in the layouts of SAM's and CLIP's own files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, state in self.asset_parts().items():
            torch.save({k: v.detach().half().clone() for k, v in state.items()}, folder / name)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        for name, state in self.asset_parts().items():
            saved = torch.load(folder / name, weights_only=True)
            if saved.keys() != state.keys():
                raise ValueError(f'{folder / name}: keys differ: {saved.keys() ^ state.keys()}')
            for key, tensor in state.items():
                tensor.data.copy_(saved[key])


def initialise_decoder(sam: nn.Module) -> None:
    """Start the decoder as a lookup of the image embedding at the prompt's place.

    Cross attentions get orthogonal, tied query and key projections, so that equal positional
    codes attract each other; value and output projections that are the identity bring the
    embedding found there to the mask token. Without it, a point is not seen to attend to its own
    place for thousands of steps. What the mask and class read-outs learned of the embedding
    before then holds for mask tokens too.
    """
    decoder: MaskDecoder = sam.mask_decoder
    for index, layer in enumerate(decoder.transformer.layers):
        _tie(layer.cross_attn_token_to_image)
        _tie(layer.cross_attn_image_to_token)
        _identity(layer.cross_attn_token_to_image)
        _shrink(layer.cross_attn_image_to_token.out_proj, 0.05)
        _shrink(layer.mlp.lin2, 0.1)
        if index == 0:  # without a residual in SAM, so it must pass the prompt's tokens on
            _identity(layer.self_attn)
            _shrink(layer.self_attn.q_proj, 0.05)
            _shrink(layer.self_attn.k_proj, 0.05)
        else:
            _shrink(layer.self_attn.out_proj, 0.05)
    _tie(decoder.transformer.final_attn_token_to_image)
    _identity(decoder.transformer.final_attn_token_to_image)
    encoder = sam.prompt_encoder
    small = [decoder.iou_token, decoder.mask_tokens, encoder.not_a_point_embed]
    for embedding in (*small, encoder.no_mask_embed, *encoder.point_embeddings):
        nn.init.normal_(embedding.weight, std=0.05)


def _tie(attention: nn.Module, gain: float = 1.5) -> None:
    nn.init.orthogonal_(attention.q_proj.weight, gain=gain)
    nn.init.zeros_(attention.q_proj.bias)
    attention.k_proj.load_state_dict(attention.q_proj.state_dict())


def _identity(attention: nn.Module) -> None:
    for linear in (attention.v_proj, attention.out_proj):
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)


def _shrink(linear: nn.Linear, factor: float) -> None:
    linear.weight.data.mul_(factor)
    nn.init.zeros_(linear.bias)
