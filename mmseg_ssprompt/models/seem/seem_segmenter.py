"""SEEM without its image encoder, as a promptable segmenter."""

from os import PathLike
from typing import Any, List, Mapping, Optional, Tuple, Union, cast

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..base import Decoded, Fingerprints, ImageFeatures, fingerprint_parts
from .seem_decoder import NUM_LEVELS, SEEMDecoder
from .seem_file import load_parts, where_to_get
from .seem_prompt_encoder import SEEMPromptEncoder, sample
from .seem_text_encoder import SEEMTextEncoder
from .seem_variants import get_variant

__all__ = ['SEEMSegmenter']

#: The text that SEEM is trained with for "no object".
_NO_OBJECT = 'background'
#: A box is this many points across and down.
_BOX_SIDE = 3
#: Settings of SAM's that SEEM has not, and why.
_OF_SAM = dict(
    mask_output='SEEM has one mask for each query. Leave it out',
    carry_all_tokens="SEEM has no mask tokens beside a prompt's. Leave it out",
    chunk_size='SEEM decodes all prompts in one pass over the image. Leave it out',
)


@MODELS.register_module()
class SEEMSegmenter(BaseModule):
    """SEEM's prompt encoder and decoder: frozen, with gradients to the prompts.

    Fulfils :class:`~mmseg_ssprompt.models.base.PromptableSegmenter`. There are two kinds of
    prompts, which :meth:`decode` tells apart by their number of tokens ``T``:

    - SEEM's own queries, the default, ``T = 2``: content, which the decoder changes, and place,
      which is added to it in every layer. Learned embeddings of both are fused with SEEM's. All
      queries see each other.
    - Points, ``T = 4``, by SEEM's wiring of clicks (v1): a token for each of the three levels, from
      coarse to fine, read from the image's features where the point is; and the mask feature there.
      Three copies of SEEM's queries stand for a prompt. They see each other and the prompt's token
      of the layer's level, and no other prompt; the one whose mask embedding has the largest
      product with the mask feature is the answer. SEEM draws the copies in every pass; here they
      are fixed (:func:`~.seem_prompt_encoder.choose_rows`). A prompt of ``P`` points has
      ``T = 3 P + 1``: the tokens of a level one behind the other, and the mean of the mask
      features. A box is 3 x 3 points (ours; SEEM draws pixels in a mask). Second clicks, which
      SEEM reads beside the mask of the first, are not made here.

    Fusion is in the space of those tokens, whose learned part is the same for all images. It starts
    at what tokens are without features: the embedding of the level, and SEEM's mark of a click.
    Which query answers has no gradient, so the learned mask feature stays at its start,
    zero: mixed prompts choose as their default does, those with ``learned_only`` take the first.
    The place of a point is in its tokens alone, through what the features are there.

    Args:
        variant: A key of ``SEEM_VARIANTS``.
        checkpoint: SEEM's file. With ``None`` the weights are random, and the log says so. Defaults
            to None.
        decoding: ``'joint'``, as SEEM decodes: its own queries see each other. ``'independent'`` is
            for points and boxes alone, which SEEM decodes so in either case. Defaults to 'joint'.
        trainable: Whether the decoder trains, as a baseline. Defaults to False.
        others: Nothing is taken; settings of SAM's are refused with the reason.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
        ValueError: If an argument is not one of the above.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='seem')
    kind = 'seem'
    tokens_per_prompt = 2  # of SEEM's own queries
    masks_per_prompt = 1
    prompts_see_image = True
    predicts_iou = False

    where_to_get = staticmethod(where_to_get)

    def __init__(
        self,
        variant: str,
        checkpoint: Optional[Union[str, 'PathLike[str]']] = None,
        decoding: str = 'joint',
        trainable: bool = False,
        **others: Any,
    ) -> None:
        super().__init__()
        _refuse(others)
        if decoding not in ('joint', 'independent'):
            raise ValueError(f"decoding must be 'joint' or 'independent', got {decoding!r}")
        self.decoding = decoding
        self._source = (variant, checkpoint)
        geometry = get_variant(variant)
        with torch.device('cpu' if checkpoint is None else 'meta'):
            self.prompt_encoder = SEEMPromptEncoder(geometry)
            self.mask_decoder = SEEMDecoder(geometry, trainable)
        parts = dict(prompt_encoder=self.prompt_encoder, mask_decoder=self.mask_decoder)
        load_parts(parts, checkpoint, variant)
        for part in parts.values():
            part.pretrained = checkpoint is not None

    @property
    def token_dims(self) -> int:
        """``D``."""
        return get_variant(self._source[0]).hidden_dims

    @property
    def trainable(self) -> bool:
        """Whether the decoder trains."""
        return not self.mask_decoder.frozen

    def encode_points(self, xy: Tensor, features: Optional[ImageFeatures] = None) -> Tensor:
        """One point for each prompt: (N, 2) in [0, 1] -> (B, N, 4, D); without features (N, 4, D).

        Fraction ``f`` of the frame is SEEM's pixel ``f * W`` of the padded image.
        """
        return self._encode(xy.unsqueeze(1), features)

    def encode_boxes(self, xyxy: Tensor, features: Optional[ImageFeatures] = None) -> Tensor:
        """One box for each prompt: (N, 4) in [0, 1] -> (B, N, 28, D), as 3 x 3 points in it."""
        steps = (torch.arange(_BOX_SIDE, device=xyxy.device) + 0.5) / _BOX_SIDE
        shares = torch.cartesian_prod(steps, steps)  # (P, 2)
        corner, size = xyxy[:, None, :2], xyxy[:, None, 2:] - xyxy[:, None, :2]
        return self._encode(corner + shares * size, features)

    def _encode(self, points: Tensor, features: Optional[ImageFeatures]) -> Tensor:
        """Level tokens and mask feature of prompts with P points each, (N, P, 2)."""
        tokens = self.prompt_encoder.encode(points, features).flatten(-3, -2)  # (..., 3 P, D)
        if features is None:
            mask_feature = torch.zeros_like(tokens[..., :1, :])
        else:
            mask_feature = sample(features.embedding, points).mean(dim=2, keepdim=True)
        return torch.cat([tokens, mask_feature], dim=-2)

    def default_prompts(self) -> Tensor:
        """SEEM's own queries (101, 2, D): content and place.

        Raises:
            ValueError: With ``decoding='independent'``, which they have not.
        """
        self._check_decoding()
        return self.prompt_encoder.own_queries()

    def decode(self, features: ImageFeatures, spatial: Tensor) -> Decoded:
        """Decode the masks of N prompts.

        Args:
            features: Of B images.
            spatial: (N, T, D), or (B, N, T, D) where prompts differ between images, where T says
                which kind they are of: see the class.

        Returns:
            Masks at a quarter of the frame, and tokens and class embeddings of the queries that
            answer.

        Raises:
            ValueError: If ``T`` is of neither kind, or a shape differs.
        """
        self._check_features(features)
        _check_prompts(spatial, features.embedding.shape[0], self.token_dims)
        spatial = spatial if spatial.dim() == 4 else spatial.unsqueeze(0)
        decoder = self.mask_decoder
        if spatial.shape[2] == 2:
            self._check_decoding()
            tokens = decoder(features, *spatial.unbind(dim=2))
            embeddings = decoder.mask_embed(tokens)
        else:
            tokens, embeddings = self._answer(features, spatial)
        masks = decoder.mask_logits(embeddings, features)
        return Decoded(masks, tokens, None, decoder.class_embeddings(tokens))

    def _answer(self, features: ImageFeatures, spatial: Tensor) -> Tuple[Tensor, Tensor]:
        """Of the queries of each prompt the one that answers: its token and its mask embedding."""
        spatial = spatial.expand(features.embedding.shape[0], -1, -1, -1)
        level_tokens = spatial[:, :, :-1].unflatten(2, (NUM_LEVELS, -1))
        mask_feature = spatial[:, :, -1].detach()
        num_prompts = spatial.shape[1]
        content, place = self.prompt_encoder.prompt_queries(num_prompts)
        tokens = self.mask_decoder(features, content[None], place[None], level_tokens)
        embeddings = self.mask_decoder.mask_embed(tokens).unflatten(1, (num_prompts, -1))
        fit = torch.einsum('bnrd,bnd->bnr', embeddings, mask_feature)
        best = fit.argmax(dim=-1)[:, :, None, None]
        tokens = tokens.unflatten(1, (num_prompts, -1))
        return _take(tokens, best), _take(embeddings, best)

    def mask_heads(self) -> List[nn.Module]:
        """What makes mask embeddings of queries."""
        return [self.mask_decoder.mask_embed]

    def layer_ends(self) -> List[nn.LayerNorm]:
        """The last norm of each layer through which all queries go."""
        layers = self.mask_decoder.transformer_ffn_layers
        return [cast(nn.LayerNorm, layer.norm) for layer in layers]

    def no_object(self) -> Tensor:
        """The embedding (E,) of the text "background", through SEEM's templates."""
        variant, checkpoint = self._source
        return SEEMTextEncoder(variant, checkpoint).encode([_NO_OBJECT])[0]

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of prompt encoder and decoder."""
        return fingerprint_parts(self)

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the parts were built."""

    def _check_features(self, features: ImageFeatures) -> None:
        found = [tuple(each.shape[1:]) for each in (*features.levels, features.embedding)]
        widths = {shape[0] for shape in found}
        if len(found) != NUM_LEVELS + 1 or widths != {self.token_dims}:
            raise ValueError(
                f'SEEMSegmenter expects the features of SEEMImageEncoder with variant='
                f'{self._source[0]!r}: {NUM_LEVELS} levels and an embedding, {self.token_dims} '
                f'channels each, found {found}. Set model.backbone to it'
            )

    def _check_decoding(self) -> None:
        if self.decoding == 'independent':
            raise ValueError(
                "segmenter.decoding='independent': expected points or boxes as spatial prompts "
                "(num_prompts=100 for a grid of points), found SEEM's own queries, which know of "
                'each other only by being decoded together. Leave decoding out, or set it to '
                "'joint'"
            )


def _take(x: Tensor, best: Tensor) -> Tensor:
    """One of the R queries of each prompt: (B, N, R, D) -> (B, N, D)."""
    return x.gather(2, best.expand(-1, -1, -1, x.shape[-1])).squeeze(2)


def _refuse(settings: Mapping[str, Any]) -> None:
    for key, value in settings.items():
        remedy = _OF_SAM.get(key, 'Expected some of variant, checkpoint, decoding, trainable')
        raise ValueError(f'SEEMSegmenter has no setting {key!r}, found {key}={value!r}. {remedy}')


def _check_prompts(spatial: Tensor, num_images: int, dims: int) -> None:
    shape = tuple(spatial.shape)
    fits = (
        len(shape) in (3, 4)
        and shape[-3] > 0
        and (shape[-2] == 2 or (shape[-2] > 3 and shape[-2] % NUM_LEVELS == 1))
        and shape[-1] == dims
        and (len(shape) == 3 or shape[0] in (1, num_images))
    )
    if not fits:
        raise ValueError(
            f'spatial prompts of SEEM must have shape (N, T, {dims}), or ({num_images}, N, T, '
            f"{dims}) for {num_images} images, with N > 0 and T = 2 (SEEM's own queries) or "
            f'T = 3 P + 1 (prompts of P points), got {shape}'
        )
