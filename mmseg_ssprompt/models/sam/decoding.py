"""Joint and independent decoding of N prompts for B images by SAM's mask decoder."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import TwoWayAttentionBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute_in_backward

from ..base.linear import project
from .attention import (
    attend,
    attend_to_image,
    attend_to_tokens,
    attend_to_tokens_at_first,
)
from .mlp import apply_mlp
from .read_out import mask_filters, masks_of_one, masks_of_shared

__all__ = ['MULTI_MASK_TOKENS', 'SINGLE_MASK_TOKEN', 'decode_independent', 'decode_joint']

#: SAM's mask tokens: 0 is the single mask, 1 to 3 are the ambiguity masks.
SINGLE_MASK_TOKEN: Tuple[int, ...] = (0,)
MULTI_MASK_TOKENS: Tuple[int, ...] = (1, 2, 3)


def decode_joint(
    decoder: MaskDecoder,
    image_embedding: Tensor,
    image_pe: Tensor,
    sparse_prompts: Tensor,
    dense_prompt: Tensor,
    token_indices: Sequence[int] = SINGLE_MASK_TOKEN,
    carried_indices: Optional[Sequence[int]] = None,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Decode all prompts in one pass over an image stream that they share.

    The first self-attention is block-diagonal (a prompt's tokens see only their own prompt),
    because mask tokens of different prompts are identical at the input and would never separate;
    after it all tokens see each other, and the image stream sees them all. With one prompt and all
    mask tokens carried this is SAM's own decoder. With more it is another model, which learned
    prompts adapt to (ours; SEEM decodes its queries so).

    Args:
        decoder: The official mask decoder.
        image_embedding: (B, D, h, w).
        image_pe: (1, D, h, w), positional encoding of the image embedding.
        sparse_prompts: (N, T, D), the same for all images, or (B, N, T, D).
        dense_prompt: (1, D, h, w), added to the image embedding.
        token_indices: The M mask tokens whose masks are wanted.
        carried_indices: Those that take part in attention. Defaults to ``token_indices``.

    Returns:
        Mask logits (B, N, M, 4h, 4w), output mask tokens (B, N, M, D) and IoU predictions of all
        of SAM's four mask tokens (B, N, 4).
    """
    carried = tuple(token_indices if carried_indices is None else carried_indices)
    tokens = _prompt_tokens(decoder, sparse_prompts, carried)  # (1 or B, N, G, D)
    num_images, (num_prompts, group) = image_embedding.shape[0], tokens.shape[1:3]
    keys = (image_embedding + dense_prompt).flatten(2).transpose(1, 2)  # (B, hw, D)
    key_pe = image_pe.flatten(2).transpose(1, 2)  # (1, hw, D)

    layers = decoder.transformer.layers
    queries = _first_self_attention(layers[0], tokens)
    queries = queries.flatten(1, 2).expand(num_images, -1, -1)  # (B, N * G, D)
    query_pe = tokens.flatten(1, 2)
    for index, layer in enumerate(layers):
        if index > 0:
            queries = _self_attention(layer, queries, query_pe)
        queries, keys = _cross_attentions(layer, queries, keys, query_pe, key_pe)
    queries = _final_attention(decoder, queries, keys, query_pe, key_pe)

    queries = queries.unflatten(1, (num_prompts, group))  # (B, N, G, D)
    filters, mask_tokens, iou = mask_filters(decoder, queries, token_indices, carried)
    size = (image_embedding.shape[-2], image_embedding.shape[-1])
    masks = masks_of_shared(decoder, keys, size, filters.flatten(1, 2))
    return masks.unflatten(1, filters.shape[1:3]), mask_tokens, iou


def decode_independent(
    decoder: MaskDecoder,
    image_embedding: Tensor,
    image_pe: Tensor,
    sparse_prompts: Tensor,
    dense_prompt: Tensor,
    token_indices: Sequence[int] = SINGLE_MASK_TOKEN,
    chunk_size: Optional[int] = None,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Decode each prompt in its own pass: the numbers of ``MaskDecoder.predict_masks``.

    Up to the first image-to-token attention the image stream is the same for all prompts, so all
    that depends on it alone is computed once per image, and the tokens of all prompts are one long
    sequence. From there on, prompts go in chunks, which does not change their numbers by more than
    rounding. Each of several chunks is computed again in the backward pass.

    Args and Returns: see :func:`decode_joint`; ``chunk_size`` prompts are decoded at a time,
    by default all.
    """
    carried = tuple(range(decoder.num_mask_tokens))
    tokens = _prompt_tokens(decoder, sparse_prompts, carried)  # (1 or B, N, G, D)
    num_images, num_prompts, group = image_embedding.shape[0], *tokens.shape[1:3]
    first = decoder.transformer.layers[0]
    image = _start_image(decoder, image_embedding, image_pe, dense_prompt)

    queries = _first_self_attention(first, tokens).expand(num_images, -1, -1, -1)
    attended = attend(
        *(first.cross_attn_token_to_image, (queries + tokens).flatten(1, 2)),
        *(image.positioned, image.stream),
    )  # (B, N * G, D): attention treats queries one by one
    queries = _after_attention(first, queries.flatten(1, 2), attended)
    queries = queries.unflatten(1, (num_prompts, group))
    query_pe = tokens.expand(num_images, -1, -1, -1)

    size = num_prompts if chunk_size is None else chunk_size
    parts = []
    for chunk in zip(queries.split(size, dim=1), query_pe.split(size, dim=1)):
        args = (decoder, image, *chunk, token_indices)
        if size < num_prompts and torch.is_grad_enabled() and queries.requires_grad:
            parts.append(recompute_in_backward(_decode_chunk, *args, use_reentrant=False))
        else:
            parts.append(_decode_chunk(*args))
    masks, mask_tokens, iou = (torch.cat(each, dim=1) for each in zip(*parts))
    return masks, mask_tokens, iou


class _Image(NamedTuple):
    """What all prompts share of images."""

    size: Tuple[int, int]
    stream: Tensor  # (B, hw, D)
    positioned: Tensor  # (B, hw, D)
    query: Tensor  # (B, hw, D'), of the first attention to tokens
    key_positions: List[Tensor]  # (hw, D') of each later attention to the image
    query_positions: List[Tensor]  # (hw, D') of each later attention to tokens


def _start_image(
    decoder: MaskDecoder, image_embedding: Tensor, image_pe: Tensor, dense_prompt: Tensor
) -> _Image:
    stream = (image_embedding + dense_prompt).flatten(2).transpose(1, 2).contiguous()
    image_pe = image_pe.flatten(2).transpose(1, 2)  # (1, hw, D)
    positioned = stream + image_pe
    first, *later = decoder.transformer.layers
    to_image = [layer.cross_attn_token_to_image for layer in later]
    to_image.append(decoder.transformer.final_attn_token_to_image)
    to_tokens = [layer.cross_attn_image_to_token for layer in later]
    return _Image(
        (image_embedding.shape[-2], image_embedding.shape[-1]),
        stream,
        positioned,
        project(first.cross_attn_image_to_token.q_proj, positioned),
        [project(attention.k_proj, image_pe[0]) for attention in to_image],
        [project(attention.q_proj, image_pe[0]) for attention in to_tokens],
    )


def _decode_chunk(
    decoder: MaskDecoder,
    image: _Image,
    queries: Tensor,
    query_pe: Tensor,
    token_indices: Sequence[int],
) -> Tuple[Tensor, Tensor, Tensor]:
    """The rest of :func:`decode_independent`, of queries (B, n, G, D) behind the first MLP."""
    (first, *later), transformer = decoder.transformer.layers, decoder.transformer
    num_prompts, query = queries.shape[1], queries + query_pe
    keys = first.norm4(
        attend_to_tokens_at_first(
            first.cross_attn_image_to_token, image.stream, image.query, query, queries
        )
    )  # (P, hw, D) of the P = B * n prompts
    queries, query_pe = queries.flatten(0, 1), query_pe.flatten(0, 1)
    for layer, as_keys, as_queries in zip(later, image.key_positions, image.query_positions):
        queries = _self_attention(layer, queries, query_pe)
        attention = layer.cross_attn_token_to_image
        attended = attend_to_image(attention, queries + query_pe, keys, as_keys)
        queries = _after_attention(layer, queries, attended)
        attention = layer.cross_attn_image_to_token
        query = queries + query_pe
        keys = layer.norm4(attend_to_tokens(attention, keys, as_queries, query, queries))
    attended = attend_to_image(
        *(transformer.final_attn_token_to_image, queries + query_pe, keys),
        image.key_positions[-1],
    )
    queries = transformer.norm_final_attn(queries + attended)

    carried = tuple(range(decoder.num_mask_tokens))
    filters, mask_tokens, iou = mask_filters(decoder, queries, token_indices, carried)
    masks = masks_of_one(decoder, keys, image.size, filters)
    shape = (-1, num_prompts)
    return masks.unflatten(0, shape), mask_tokens.unflatten(0, shape), iou.unflatten(0, shape)


def _prompt_tokens(decoder: MaskDecoder, sparse_prompts: Tensor, carried: Sequence[int]) -> Tensor:
    """IoU token, carried mask tokens and prompt tokens of each prompt: (1 or B, N, G, D)."""
    if sparse_prompts.dim() == 3:
        sparse_prompts = sparse_prompts.unsqueeze(0)
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight[list(carried)]])
    output_tokens = output_tokens.expand(*sparse_prompts.shape[:2], -1, -1)
    return torch.cat([output_tokens, sparse_prompts], dim=2)


def _first_self_attention(layer: TwoWayAttentionBlock, tokens: Tensor) -> Tensor:
    """Self-attention within each prompt; SAM's first layer has neither residual nor positions."""
    groups = tokens.flatten(0, 1)
    attended: Tensor = layer.norm1(attend(layer.self_attn, groups, groups, groups))
    return attended.view_as(tokens)


def _self_attention(layer: TwoWayAttentionBlock, queries: Tensor, query_pe: Tensor) -> Tensor:
    positioned = queries + query_pe
    attended = attend(layer.self_attn, positioned, positioned, queries)
    normalised: Tensor = layer.norm1(queries + attended)
    return normalised


def _cross_attentions(
    layer: TwoWayAttentionBlock, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
) -> Tuple[Tensor, Tensor]:
    """Tokens attend to the image, then the image to the tokens."""
    positioned = keys + key_pe
    attended = attend(layer.cross_attn_token_to_image, queries + query_pe, positioned, keys)
    queries = _after_attention(layer, queries, attended)
    attended = attend(layer.cross_attn_image_to_token, positioned, queries + query_pe, queries)
    return queries, layer.norm4(keys + attended)


def _after_attention(layer: TwoWayAttentionBlock, queries: Tensor, attended: Tensor) -> Tensor:
    """What tokens are when they have seen the image: norms and perceptron."""
    queries = layer.norm2(queries + attended)
    normalised: Tensor = layer.norm3(queries + apply_mlp(layer.mlp, queries))
    return normalised


def _final_attention(
    decoder: MaskDecoder, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
) -> Tensor:
    transformer = decoder.transformer
    attention = transformer.final_attn_token_to_image
    attended = attend(attention, queries + query_pe, keys + key_pe, keys)
    normalised: Tensor = transformer.norm_final_attn(queries + attended)
    return normalised
