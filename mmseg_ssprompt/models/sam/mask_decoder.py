"""SAM's mask decoder for N prompts and B images: jointly, or each prompt in its own pass."""

from typing import List, Optional, Union

import torch
from mmseg.registry import MODELS
from segment_anything.modeling import MaskDecoder
from torch import Tensor, nn

from ...weights.state_dicts import FilePath
from ..base import Decoded, FrozenModule
from . import sam_file
from .chunks import choose_chunk_size
from .decoding import MULTI_MASK_TOKENS, SINGLE_MASK_TOKEN, decode_independent, decode_joint
from .sam_variants import build_mask_decoder

__all__ = ['SAMMaskDecoder', 'decode_independent', 'decode_joint']


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
        chunk_size: Prompts decoded at a time by independent decoding, which changes results by no
            more than rounding (1e-5). In training each of several chunks is recomputed in the
            backward pass, so that memory does not grow with N. ``'auto'`` takes all that fit into
            free memory on a GPU, and on a CPU what its caches hold
            (:func:`~mmseg_ssprompt.models.sam.chunks.choose_chunk_size`). With a number, the same
            inputs give the same bits on the same machine. Defaults to 'auto'.
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
        chunk_size: Union[int, str] = 'auto',
        trainable: bool = False,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ('decoding', decoding, ('joint', 'independent')),
            ('mask_output', mask_output, ('single', 'best', 'all')),
        ):
            if value not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {value!r}')
        if chunk_size != 'auto' and (type(chunk_size) is not int or chunk_size < 1):
            raise ValueError(f"chunk_size must be 'auto' or a positive integer, got {chunk_size!r}")
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
        size = self._chunk_size(image_embedding, sparse_prompts)
        outputs = decode_independent(
            *image, sparse_prompts, dense_prompt, self._token_indices, size
        )
        return self._select(*outputs)

    def _chunk_size(self, image_embedding: Tensor, sparse_prompts: Tensor) -> int:
        if not isinstance(self.chunk_size, str):
            return self.chunk_size
        num_prompts, num_tokens = sparse_prompts.shape[-3:-1]
        group = 1 + self.decoder.num_mask_tokens + num_tokens
        given = (image_embedding, sparse_prompts)
        trains = torch.is_grad_enabled() and (
            not self.frozen or any(x.requires_grad for x in given)
        )
        return choose_chunk_size(self.decoder, image_embedding, num_prompts, group, trains)

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
