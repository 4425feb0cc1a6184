"""SAM without its image encoder, as a promptable segmenter."""

from typing import Optional

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ...weights.state_dicts import FilePath
from ..base import Decoded, Fingerprints, ImageFeatures, fingerprint_parts
from . import sam_file
from .mask_decoder import SAMMaskDecoder
from .prompt_encoder import SAMPromptEncoder

__all__ = ['SAMSegmenter']

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
        decoding: As for :class:`SAMMaskDecoder`, as are all arguments that follow.

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
        chunk_size: int = 8,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        decoder = (decoding, mask_output, carry_all_tokens, chunk_size, trainable)
        self.prompt_encoder = SAMPromptEncoder(variant, checkpoint)
        self.mask_decoder = SAMMaskDecoder(variant, checkpoint, *decoder)
        self.token_dims = self.prompt_encoder.embed_dim
        self.masks_per_prompt = self.mask_decoder.masks_per_prompt
        self.trainable = self.mask_decoder.trainable

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
        encoder = self.prompt_encoder
        decoded: Decoded = self.mask_decoder(
            features[-1], encoder.image_pe(), spatial, encoder.dense_prompt()
        )
        return decoded

    def no_object(self) -> Optional[Tensor]:
        """None: SAM has no texts."""
        return None

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of prompt encoder and mask decoder."""
        return fingerprint_parts(self)

    def init_weights(self) -> None:
        """Do nothing: the weights were loaded when the parts were built."""
