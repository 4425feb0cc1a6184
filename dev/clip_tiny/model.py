"""The miniature CLIP pair: an image tower, a text tower and the scale between them."""

import math
import re
from pathlib import Path
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmseg_ssprompt.models.clip.clip_variants import get_clip_variant
from mmseg_ssprompt.models.clip.image_tower import CLIPImageTower, encode_patches, init_as_clip
from mmseg_ssprompt.models.clip.read_out import read_class_token, read_dense_features

from ..sam_tiny.model import TinyTextEncoder

__all__ = ['ClipPair']

PAIR_NAME = 'clip-pair-tiny_shapes.pth'
#: Beginnings of mmseg's names, and OpenAI's; the final norm's is last, since blocks have one too.
_NAMES: Tuple[Tuple[str, str], ...] = (
    (r'transformer\.cls_token', 'class_embedding'),
    (r'transformer\.pos_embed', 'positional_embedding'),
    (r'transformer\.patch_embed\.projection', 'conv1'),
    (r'transformer\.ln_pre', 'ln_pre'),
    (r'transformer\.layers\.(\d+)\.ln(\d)', r'transformer.resblocks.\1.ln_\2'),
    (r'transformer\.layers\.(\d+)\.attn\.attn', r'transformer.resblocks.\1.attn'),
    (r'transformer\.layers\.(\d+)\.ffn\.layers\.0\.0', r'transformer.resblocks.\1.mlp.c_fc'),
    (r'transformer\.layers\.(\d+)\.ffn\.layers\.1', r'transformer.resblocks.\1.mlp.c_proj'),
    (r'transformer\.ln1', 'ln_post'),
    (r'projection', 'proj'),
)


class ClipPair(nn.Module):
    """What is pre-trained by contrast.

    Attributes:
        image: The image tower.
        text: The text tower.
        logit_scale: Natural logarithm of the factor on cosines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.variant = get_clip_variant('tiny')
        self.image = CLIPImageTower(self.variant)
        init_as_clip(self.image)
        _init_positions(self.image.transformer.pos_embed)
        self.text = TinyTextEncoder(embed=self.variant.embed_dims)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's beginning

    def encode_image(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W), CLIP's input, to unit vectors (B, E)."""
        return F.normalize(read_class_token(self.image.read_out, self._encode(images)), dim=-1)

    def encode_pieces(self, images: Tensor, masks: Tensor) -> Dict[str, Tensor]:
        """What masks show, in both ways that a region classifier has.

        Args:
            images: (B, 3, H, W), CLIP's input.
            masks: (B, R, h w), the share of each place that a mask shows.

        Returns:
            Unit vectors (B, R, E): 'token', of a class token that sees the mask alone, and
            'dense', of the mean of features of single places.
        """
        tokens = self._encode(images)
        token = read_class_token(self.image.read_out, tokens, masks)
        dense = masks @ read_dense_features(self.image.read_out, tokens)
        return dict(token=F.normalize(token, dim=-1), dense=F.normalize(dense, dim=-1))

    def _encode(self, images: Tensor) -> Tensor:
        """``encode_patches``, in training by the blocks' own forward in bfloat16.

        That takes less than half the time of the fused attention on a CPU.
        """
        if not self.training:
            return encode_patches(self.image, images)[0]
        vit = self.image.transformer
        with torch.autocast('cpu', torch.bfloat16):
            patches, size = vit.patch_embed(images)
            tokens = torch.cat([vit.cls_token.expand(len(images), -1, -1), patches], dim=1)
            tokens = vit.pre_ln(vit._pos_embeding(tokens, size, vit.pos_embed))
            for block in vit.layers[:-1]:
                tokens = block(tokens)
        return tokens.float()

    def openai_state(self) -> Dict[str, Tensor]:
        """All weights under OpenAI's names, as views."""
        image = {f'visual.{_rename(k)}': v for k, v in self.image.state_dict().items()}
        for name in ('class_embedding', 'positional_embedding'):
            image[f'visual.{name}'] = image[f'visual.{name}'].squeeze(0)
        image['visual.class_embedding'] = image['visual.class_embedding'].squeeze(0)
        return dict(image, **self.text.state_dict(), logit_scale=self.logit_scale)

    def save(self, folder: Path) -> None:
        """Write the weights as float16, both towers in one file, as OpenAI does."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().half().clone() for k, v in self.openai_state().items()}
        torch.save(state, folder / PAIR_NAME)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote."""
        saved = torch.load(folder / PAIR_NAME, weights_only=True)
        state = self.openai_state()
        if saved.keys() != state.keys():
            raise ValueError(f'{folder / PAIR_NAME}: keys differ: {saved.keys() ^ state.keys()}')
        for key, tensor in state.items():
            tensor.data.copy_(saved[key])


def _init_positions(embedding: nn.Parameter) -> None:
    """Start from sines and cosines of x and y (arXiv 2104.02057), not from noise.

    There are too few pictures to learn from noise which places are neighbours.
    """
    _, length, width = embedding.shape
    side = math.isqrt(length - 1)
    rates = 100 ** (-torch.arange(width // 4) / (width // 4))  # radians from place to place
    angles = torch.arange(side)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    y, x = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    embedding.data[0, 1:] = 0.2 * torch.cat([x, y], dim=2).flatten(0, 1)


def _rename(key: str) -> str:
    """The name that OpenAI gives to what mmseg calls ``key``."""
    for old, new in _NAMES:
        renamed, count = re.subn(f'^{old}(?=$|\\.)', new, key)
        if count:
            return renamed
    raise KeyError(f'no name of OpenAI is known for {key!r}')
