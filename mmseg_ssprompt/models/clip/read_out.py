"""The last block of CLIP's image tower, where what one asks of an image comes in.

A class token of the whole image, class tokens of parts of it, and features of single places differ
in this block alone; all that is before it can be computed once for an image.
"""

import math
from typing import NamedTuple, Optional, Tuple

import torch.nn.functional as F
from mmseg.models.backbones.vit import TransformerEncoderLayer
from torch import Tensor, nn

__all__ = ['ReadOut', 'read_class_token', 'read_dense_features']

#: Coverage below this counts as zero, so that gradients stay finite.
_NOTHING = 1e-12


class ReadOut(NamedTuple):
    """Parts of an image tower."""

    block: TransformerEncoderLayer  # the last one, of mmseg's vision transformer
    norm: nn.Module  # CLIP's ln_post
    projection: Tensor  # (width, E), to the space that is shared with texts

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """From what tokens (B, L, width) have attended to, to the text space: (B, L, E)."""
        normalised: Tensor = self.norm(finish_block(self.block, tokens, attended))
        return normalised @ self.projection


def read_class_token(read_out: ReadOut, tokens: Tensor, masks: Optional[Tensor] = None) -> Tensor:
    """A class token of the whole image, or one of what each mask shows.

    With masks, attention to a patch has the logarithm of the mask there as a bias, so that a patch
    counts as much as the mask shows of it. As in SAN (arXiv 2302.12242) and MaskCLIP++ (arXiv
    2412.11464), but in the last block alone. These class tokens do not look at themselves.

    Args:
        read_out: Of the tower.
        tokens: (B, 1 + h w, width), of ``encode_patches``.
        masks: (B, N, h w), not negative. Defaults to None: CLIP's own class token.

    Returns:
        Embeddings in the text space, not of unit length: (B, E), or (B, N, E) of masks.
    """
    query, key, value = project_to_attend(read_out.block, tokens)
    query, own = query[:, :, :1], tokens[:, :1]
    if masks is None:
        attended = F.scaled_dot_product_attention(query, key, value)
        return read_out.finish(own, join_heads(attended)).squeeze(1)
    # All masks ask the same question, so only one row of scores is computed for all of them.
    scores = query @ key[:, :, 1:].mT / math.sqrt(query.shape[-1])  # (B, heads, 1, h w)
    bias = masks.clamp(min=_NOTHING).log().unsqueeze(1)
    attended = (scores + bias).softmax(dim=-1) @ value[:, :, 1:]  # (B, heads, N, C)
    return read_out.finish(own, join_heads(attended))


def read_dense_features(read_out: ReadOut, tokens: Tensor) -> Tensor:
    """Features of each place: the last block without mixing them.

    MaskCLIP's way (arXiv 2112.01071, section 3.2): the value and output projections of the last
    attention stay, queries and keys go. Arguments are those of :func:`read_class_token`.

    Returns:
        Features in the text space, not of unit length: (B, h w, E).
    """
    patches = tokens[:, 1:]
    _, _, value = project_to_attend(read_out.block, patches)
    return read_out.finish(patches, join_heads(value))


def project_to_attend(
    block: TransformerEncoderLayer, tokens: Tensor
) -> Tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a block: (B, heads, L, C) each."""
    attention = block.attn.attn
    projected = F.linear(block.norm1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    return query, key, value


def join_heads(attended: Tensor) -> Tensor:
    """(B, heads, L, C) to (B, L, width)."""
    return attended.transpose(1, 2).flatten(2)


def finish_block(block: TransformerEncoderLayer, tokens: Tensor, attended: Tensor) -> Tensor:
    """What follows the attention of a pre-norm block: (B, L, width)."""
    tokens = tokens + block.attn.attn.out_proj(attended)
    finished: Tensor = block.ffn(block.norm2(tokens), identity=tokens)
    return finished
