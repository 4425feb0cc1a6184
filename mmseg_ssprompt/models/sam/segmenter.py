"""SAM without its image encoder, as a promptable segmenter."""

import json
from typing import List, Optional, Union

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...weights.state_dicts import FilePath
from ..base import Decoded, Fingerprints, ImageFeatures, fingerprint_parts
from ..base.decoded_memory import DecodedMemory
from ..base.linear import is_autocast
from . import sam_file
from .mask_decoder import SAMMaskDecoder
from .prompt_encoder import SAMPromptEncoder

__all__ = ['DECODED', 'SAMSegmenter']

#: What segmenters with ``remember_bytes`` keep, for all models of this process.
DECODED = DecodedMemory()

_FOREGROUND = 1  # SAM's label of a point that lies on the object


@MODELS.register_module()
class SAMSegmenter(BaseModule):
    """SAM's prompt encoder and mask decoder: frozen, with gradients to the prompts.

    Fulfils :class:`~mmseg_ssprompt.models.base.PromptableSegmenter`. Fraction ``f`` of the frame is
    SAM's pixel ``f * S``, to which SAM itself adds half a pixel.

    Args:
        variant: A key of ``SAM_VARIANTS``: ``'vit_b'``, ``'vit_l'``, ``'vit_h'`` or ``'tiny'``.
        checkpoint: The official file, or ``mmseg_ssprompt://NAME`` for one of the package. With
            ``None`` the weights are random, and the log says so. Defaults to None.
        decoding: As for :class:`SAMMaskDecoder`, as are all arguments that follow but the last.
        remember_bytes: How much memory may be taken to keep decoded images, where neither prompts
            nor decoder train, so that each image is decoded once (:class:`DecodedMemory`); all
            models of a process share it. An image of ViT-B with 100 prompts takes 26 MB. Defaults
            to 0: none are kept.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file does not fit the variant.
        ValueError: If an argument has another value than there are.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='sam')
    kind = 'sam'
    tokens_per_prompt = 2  # a point and SAM's not-a-point token, or the two corners of a box
    prompts_see_image = False
    predicts_iou = True
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
        remember_bytes: int = 0,
    ) -> None:
        super().__init__()
        decoder = (decoding, mask_output, carry_all_tokens, chunk_size, trainable)
        self.prompt_encoder = SAMPromptEncoder(variant, checkpoint)
        self.mask_decoder = SAMMaskDecoder(variant, checkpoint, *decoder)
        self.token_dims = self.prompt_encoder.embed_dim
        self.masks_per_prompt = self.mask_decoder.masks_per_prompt
        self.trainable = self.mask_decoder.trainable
        self.remember_bytes = remember_bytes
        self._settings = json.dumps([variant, decoding, mask_output, carry_all_tokens, chunk_size])

    def encode_points(self, xy: Tensor, features: Optional[ImageFeatures] = None) -> Tensor:
        """One foreground point for each prompt: (N, 2) in [0, 1] -> (N, 2, D)."""
        points = (xy * self.prompt_encoder.image_size).unsqueeze(1)
        labels = points.new_full(points.shape[:2], _FOREGROUND)
        return self.prompt_encoder.encode_points(points, labels)

    def encode_boxes(self, xyxy: Tensor, features: Optional[ImageFeatures] = None) -> Tensor:
        """One box for each prompt: (N, 4) in [0, 1] -> (N, 2, D)."""
        return self.prompt_encoder.encode_boxes(xyxy * self.prompt_encoder.image_size)

    def default_prompts(self) -> Optional[Tensor]:
        """None: SAM has no queries of its own."""
        return None

    def decode(self, features: ImageFeatures, spatial: Tensor) -> Decoded:
        """Decode the masks of prompts (N, T, D), or (B, N, T, D); see :class:`SAMMaskDecoder`."""
        weights = self.fingerprints() if self.remember_bytes > 0 else {}
        # Prompts that train require no gradient in validations; what they make is not met again.
        is_fixed = not (spatial.requires_grad or self.trainable or None in weights.values())
        if weights and is_fixed and not (is_autocast('cpu') or is_autocast('cuda')):
            settings = f'{self._settings} {json.dumps(weights, sort_keys=True)}'
            return DECODED.decode(self._decode, features, spatial, settings, self.remember_bytes)
        return self._decode(features, spatial)

    def _decode(self, features: ImageFeatures, spatial: Tensor) -> Decoded:
        encoder = self.prompt_encoder
        decoded: Decoded = self.mask_decoder(
            features[-1], encoder.image_pe(), spatial, encoder.dense_prompt()
        )
        return decoded

    def mask_heads(self) -> List[nn.Module]:
        """What makes mask embeddings of the mask tokens that are asked for."""
        return self.mask_decoder.mask_heads()

    def layer_ends(self) -> List[nn.LayerNorm]:
        """The last norm of each layer through which the tokens of all prompts go."""
        return [layer.norm3 for layer in self.mask_decoder.decoder.transformer.layers]

    def no_object(self) -> Optional[Tensor]:
        """None: SAM has no texts."""
        return None

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of prompt encoder and mask decoder."""
        return fingerprint_parts(self)

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the parts were built."""
