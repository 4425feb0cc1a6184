"""SAM's mask decoder for N prompts and B images: jointly, or each prompt in its own pass."""

from typing import List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute_in_backward

from ...weights.state_dicts import FilePath
from ..base import Decoded, FrozenModule
from . import sam_file
from .linear import apply_mlp, project
from .sam_variants import build_mask_decoder

__all__ = ['SAMMaskDecoder', 'decode_independent', 'decode_joint']

#: SAM's mask tokens: 0 is the single mask, 1 to 3 are the ambiguity masks.
SINGLE_MASK_TOKEN: Tuple[int, ...] = (0,)
MULTI_MASK_TOKENS: Tuple[int, ...] = (1, 2, 3)


def attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The official ``Attention`` without its map in memory: (B, Lq, D), (B, Lk, D) twice."""
    query = _project_to_heads(attention, attention.q_proj, query)
    key = _project_to_heads(attention, attention.k_proj, key)
    value = _project_to_heads(attention, attention.v_proj, value)
    return _attend_projected(attention, query, key, value)


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
    return _read_out(decoder, queries, keys, image_embedding.shape[-2:], token_indices, carried)


def decode_independent(
    decoder: MaskDecoder,
    image_embedding: Tensor,
    image_pe: Tensor,
    sparse_prompts: Tensor,
    dense_prompt: Tensor,
    token_indices: Sequence[int] = SINGLE_MASK_TOKEN,
) -> Tuple[Tensor, Tensor, Tensor]:
    """Decode each prompt in its own pass: the numbers of ``MaskDecoder.predict_masks``.

    Up to the first image-to-token attention the image stream is the same for all prompts, so its
    projections there are computed once per image.

    Args and Returns: see :func:`decode_joint`.
    """
    carried = tuple(range(decoder.num_mask_tokens))
    tokens = _prompt_tokens(decoder, sparse_prompts, carried)  # (1 or B, N, G, D)
    num_images, num_prompts = image_embedding.shape[0], tokens.shape[1]
    image = (image_embedding + dense_prompt).flatten(2).transpose(1, 2)  # (B, hw, D)
    key_pe = image_pe.flatten(2).transpose(1, 2)  # (1, hw, D)

    layers = decoder.transformer.layers
    queries = _first_self_attention(layers[0], tokens).expand(num_images, -1, -1, -1)
    queries, keys = _first_cross_attentions(layers[0], queries, image, tokens, key_pe)
    query_pe = tokens.expand(num_images, -1, -1, -1).flatten(0, 1)  # (B * N, G, D)
    for layer in layers[1:]:
        queries = _self_attention(layer, queries, query_pe)
        queries, keys = _cross_attentions(layer, queries, keys, query_pe, key_pe)
    queries = _final_attention(decoder, queries, keys, query_pe, key_pe)

    size, queries = image_embedding.shape[-2:], queries.unsqueeze(1)  # (B * N, 1, G, D)
    outputs = _read_out(decoder, queries, keys, size, token_indices, carried)
    masks, mask_tokens, iou = (x.squeeze(1).unflatten(0, (-1, num_prompts)) for x in outputs)
    return masks, mask_tokens, iou


@MODELS.register_module()
class SAMMaskDecoder(FrozenModule):
    """SAM's mask decoder with frozen weights, through which gradients reach the prompts.

    With ``trainable`` it is the baseline of fine-tuning instead (ours): its weights train, but for
    the IoU prediction and the masks that are not asked for, which no loss reaches, and all of
    them are saved with the prompts.

    Args:
        variant: As for :class:`SAMSegmenter`.
        checkpoint: As for :class:`SAMSegmenter`.
        decoding: ``'joint'``, all prompts in one pass (:func:`decode_joint`), or ``'independent'``,
            each in its own, as SAM was trained (:func:`decode_independent`). Defaults to 'joint'.
        mask_output: ``'single'`` takes SAM's mask token 0, ``'best'`` the one of tokens 1 to 3
            with the highest predicted IoU, ``'all'`` tokens 1 to 3 as 3N masks.
            Defaults to 'single'.
        carry_all_tokens: In joint decoding, whether all of SAM's mask tokens take part in
            attention or only those that ``mask_output`` needs. Independent decoding always
            carries all. Defaults to False.
        chunk_size: Prompts decoded at a time by independent decoding. In training each of several
            chunks is recomputed in the backward pass, so that memory does not grow with N.
            Defaults to 8.
        trainable: Whether the weights train, from the checkpoint's on. Defaults to False.

    Raises:
        ValueError: If an argument is not one of the above.
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='sam')
    part = 'mask_decoder'
    where_to_get = staticmethod(sam_file.where_to_get)

    def __init__(
        self,
        variant: str,
        checkpoint: Optional[FilePath] = None,
        decoding: str = 'joint',
        mask_output: str = 'single',
        carry_all_tokens: bool = False,
        chunk_size: int = 8,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ('decoding', decoding, ('joint', 'independent')),
            ('mask_output', mask_output, ('single', 'best', 'all')),
        ):
            if value not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {value!r}')
        if type(chunk_size) is not int or chunk_size < 1:
            raise ValueError(f'chunk_size must be a positive integer, got {chunk_size!r}')
        self.decoding, self.mask_output = decoding, mask_output
        self.carry_all_tokens, self.chunk_size = carry_all_tokens, chunk_size
        self.masks_per_prompt = len(MULTI_MASK_TOKENS) if mask_output == 'all' else 1
        self._token_indices = SINGLE_MASK_TOKEN if mask_output == 'single' else MULTI_MASK_TOKENS
        self.decoder = build_mask_decoder(variant)
        sam_file.load_part(self.decoder, checkpoint, variant, self.part)
        self.pretrained = checkpoint is not None
        self.frozen = not trainable
        if self.frozen:
            self.freeze()
            return
        # What gets no gradient is excluded from training, as DDP demands.
        self.decoder.iou_prediction_head.requires_grad_(False)
        for index, mlp in enumerate(self.decoder.output_hypernetworks_mlps):
            mlp.requires_grad_(index in self._token_indices)

    def mask_heads(self) -> List[nn.Module]:
        """SAM's hypernetworks of the mask tokens that are asked for."""
        return [self.decoder.output_hypernetworks_mlps[index] for index in self._token_indices]

    def _pretrained_part(self) -> MaskDecoder:
        return self.decoder  # as fingerprint_part names it

    def forward(
        self,
        image_embedding: Tensor,
        image_pe: Tensor,
        sparse_prompts: Tensor,
        dense_prompt: Tensor,
    ) -> Decoded:
        """Decode N masks, 3N with ``mask_output='all'``; arguments as for :func:`decode_joint`.

        Raises:
            ValueError: If ``sparse_prompts`` has another shape, or holds no prompt.
        """
        shape, count = tuple(sparse_prompts.shape), image_embedding.shape[0]
        if len(shape) not in (3, 4) or shape[-3] == 0 or (len(shape) == 4 and shape[0] != count):
            raise ValueError(
                f'sparse prompts must have shape (N, T, D), or ({count}, N, T, D) for {count} '
                f'images, with N > 0, got {shape}'
            )
        image = (self.decoder, image_embedding, image_pe)
        if self.decoding == 'joint':
            carried = range(self.decoder.num_mask_tokens) if self.carry_all_tokens else None
            outputs = decode_joint(
                *image, sparse_prompts, dense_prompt, self._token_indices, carried
            )
            return self._select(*outputs)
        chunks = sparse_prompts.split(self.chunk_size, dim=-3)
        parts = []
        for chunk in chunks:
            args = (*image, chunk, dense_prompt, self._token_indices)
            has_gradient = torch.is_grad_enabled() and (chunk.requires_grad or not self.frozen)
            if has_gradient and len(chunks) > 1:
                parts.append(recompute_in_backward(decode_independent, *args, use_reentrant=False))
            else:
                parts.append(decode_independent(*args))
        return self._select(*(torch.cat(each, dim=1) for each in zip(*parts)))

    def _select(self, masks: Tensor, tokens: Tensor, iou: Tensor) -> Decoded:
        iou = iou[..., list(self._token_indices)]  # (B, N, M)
        if self.mask_output != 'best':
            return Decoded(masks.flatten(1, 2), tokens.flatten(1, 2), iou.flatten(1, 2))
        best = iou.argmax(dim=-1, keepdim=True)  # (B, N, 1)
        return Decoded(_take(masks, best), _take(tokens, best), _take(iou, best))


def _take(x: Tensor, best: Tensor) -> Tensor:
    """One of the M of each prompt: (B, N, M, ...) by (B, N, 1) -> (B, N, ...)."""
    inner = x.shape[3:]
    index = best.reshape(*best.shape, *[1] * len(inner)).expand(-1, -1, -1, *inner)
    return x.gather(2, index).squeeze(2)


def _prompt_tokens(decoder: MaskDecoder, sparse_prompts: Tensor, carried: Sequence[int]) -> Tensor:
    """IoU token, carried mask tokens and prompt tokens of each prompt: (1 or B, N, G, D)."""
    if sparse_prompts.dim() == 3:
        sparse_prompts = sparse_prompts.unsqueeze(0)
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight[list(carried)]])
    output_tokens = output_tokens.expand(*sparse_prompts.shape[:2], -1, -1)
    return torch.cat([output_tokens, sparse_prompts], dim=2)


def _project_to_heads(attention: Attention, layer: nn.Linear, x: Tensor) -> Tensor:
    heads: Tensor = project(layer, x).unflatten(-1, (attention.num_heads, -1))
    return heads.transpose(-2, -3)  # (..., heads, L, D / heads)


def _attend_projected(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    out = F.scaled_dot_product_attention(query, key, value)
    return project(attention.out_proj, out.transpose(-2, -3).flatten(-2))


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
    queries = layer.norm2(queries + attended)
    queries = layer.norm3(queries + apply_mlp(layer.mlp, queries))
    attended = attend(layer.cross_attn_image_to_token, positioned, queries + query_pe, queries)
    return queries, layer.norm4(keys + attended)


def _first_cross_attentions(
    layer: TwoWayAttentionBlock, queries: Tensor, image: Tensor, tokens: Tensor, key_pe: Tensor
) -> Tuple[Tensor, Tensor]:
    """:func:`_cross_attentions` of the first layer, where all prompts share the image stream.

    From queries (B, N, G, D), image stream (B, hw, D) and positions of the tokens (1 or B, N, G, D)
    to queries (B * N, G, D) and an image stream for each prompt (B * N, hw, D).
    """
    num_prompts = queries.shape[1]
    positioned = image + key_pe
    # Attention treats queries one by one, so all prompts' tokens can be one long sequence.
    attended = attend(
        layer.cross_attn_token_to_image, (queries + tokens).flatten(1, 2), positioned, image
    )
    queries = layer.norm2(queries + attended.view_as(queries))
    queries = layer.norm3(queries + apply_mlp(layer.mlp, queries))

    attention = layer.cross_attn_image_to_token
    query = _project_to_heads(attention, attention.q_proj, positioned)
    query = query.repeat_interleave(num_prompts, dim=0)
    key = _project_to_heads(attention, attention.k_proj, (queries + tokens).flatten(0, 1))
    value = _project_to_heads(attention, attention.v_proj, queries.flatten(0, 1))
    attended = _attend_projected(attention, query, key, value)  # (B * N, hw, D)
    keys = layer.norm4(image.unsqueeze(1) + attended.unflatten(0, (-1, num_prompts)))
    return queries.flatten(0, 1), keys.flatten(0, 1)


def _final_attention(
    decoder: MaskDecoder, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor
) -> Tensor:
    transformer = decoder.transformer
    attention = transformer.final_attn_token_to_image
    attended = attend(attention, queries + query_pe, keys + key_pe, keys)
    normalised: Tensor = transformer.norm_final_attn(queries + attended)
    return normalised


def _read_out(
    decoder: MaskDecoder,
    queries: Tensor,
    keys: Tensor,
    size: torch.Size,
    token_indices: Sequence[int],
    carried: Sequence[int],
) -> Tuple[Tensor, Tensor, Tensor]:
    """Masks (B, N, M, 4h, 4w), mask tokens (B, N, M, D), IoU predictions (B, N, 4)."""
    upscaled = decoder.output_upscaling(keys.transpose(1, 2).unflatten(2, tuple(size)))
    positions = [1 + tuple(carried).index(index) for index in token_indices]
    mask_tokens = queries[:, :, positions]
    filters = torch.stack(
        [
            decoder.output_hypernetworks_mlps[index](mask_tokens[:, :, i])
            for i, index in enumerate(token_indices)
        ],
        dim=2,
    )  # (B, N, M, D / 8)
    masks = filters.flatten(1, 2) @ upscaled.flatten(2)
    masks = masks.unflatten(1, filters.shape[1:3]).unflatten(-1, upscaled.shape[-2:])
    return masks, mask_tokens, decoder.iou_prediction_head(queries[:, :, 0])
