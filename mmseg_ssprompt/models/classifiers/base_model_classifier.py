"""Labels for masks from the base model itself."""

from typing import Any, Dict, Optional

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ..base import Decoded, ImageFeatures
from ..prompts import BridgeFusion, PromptFusion

__all__ = ['BaseModelClassifier']


@MODELS.register_module()
class BaseModelClassifier(BaseModule):
    """The base model's own class scores: nothing but the prompts trains.

    "No object" may be a prompt, too: with ``fusion`` its embedding is learned as semantic prompts
    are, with a trust weight of its own. It is the classifier's and not one of the semantic
    prompts, because those are one for each class, and only base models with labels have it.

    ``logits = class embeddings @ [semantic prompts; no object]``, where the base model gives each
    mask an embedding in the space of its own text encoder, with its scale in it
    (:class:`~mmseg_ssprompt.models.base.Decoded`), and a text embedding of "no object". Computed
    in float32, under autocast too.

    Args:
        token_dims: Of the base model's tokens, which are not looked at.
        embed_dims: ``E``, the width of the text space.
        no_object: (E,) float, the base model's text embedding of "no object"; the head fills it
            in. Defaults to None.
        fusion: Arguments of :class:`PromptFusion`, for the embedding of "no object", such as
            ``dict(mode='learned_weight')``. Defaults to None: it stays as it is.
        bridge: Arguments of :class:`BridgeFusion`, which learns beside the base model's own map
            from tokens to the text space; the base model's scale stays. Defaults to None: no
            bridge.
        trainable: As of classifiers with a projection, which this one has not: True is refused.
            Defaults to False.

    Attributes:
        trainable: Whether "no object" or a bridge is learned.

    Raises:
        ValueError: If the base model has no embedding of "no object", or one of another width; or
            if ``trainable`` is True.
    """

    no_object: Tensor

    def __init__(
        self,
        token_dims: int,
        embed_dims: int,
        no_object: Optional[Tensor] = None,
        fusion: Optional[Dict[str, Any]] = None,
        trainable: bool = False,
        bridge: Optional[Dict[str, Any]] = None,
    ) -> None:
        super().__init__()
        if trainable:
            raise ValueError(
                f'{type(self).__name__}: expected trainable=False, found True: there is no '
                "projection here; the base model's own is a part of its mask decoder. Train that "
                'with segmenter=dict(trainable=True), or "no object" with fusion=dict() here'
            )
        if no_object is None or tuple(no_object.shape) != (embed_dims,):
            found = 'none' if no_object is None else f'shape {tuple(no_object.shape)}'
            raise ValueError(
                f'{type(self).__name__}: expected a base model with an embedding of "no object" '
                f'({embed_dims},) in the space of the semantic prompts, found {found}. Give the '
                "base model's own text encoder, or, for SAM, dict(type='TokenClassifier')"
            )
        self.register_buffer('no_object', no_object.detach().clone(), persistent=False)
        # Saved only where it says something that the base model does not.
        self.no_object_prompt: Optional[PromptFusion] = None
        if fusion is not None and fusion.get('mode') != 'default_only':
            self.no_object_prompt = PromptFusion(no_object[None], **fusion)
        self.bridge: Optional[BridgeFusion] = None
        if bridge is not None:
            self.bridge = BridgeFusion(token_dims, embed_dims, **bridge)
        self.trainable = not (self.no_object_prompt is None and self.bridge is None)

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
        name, prompt = type(self).__name__, self.no_object_prompt
        if self.bridge is not None:
            name = f'{name}, bridge of {self.bridge.describe()}'
        return name if prompt is None else f'{name}, no object by {prompt.describe()}'

    def forward(
        self, decoded: Decoded, semantic_prompts: Tensor, features: Optional[ImageFeatures] = None
    ) -> Tensor:
        """Class logits of each mask: (B, N, C + 1).

        Raises:
            ValueError: If the base model gives its masks no class embeddings.
        """
        if decoded.class_embeddings is None:
            raise ValueError(
                f'{type(self).__name__}: expected class embeddings of each mask from the base '
                "model, found none. For SAM, use dict(type='TokenClassifier')"
            )
        with torch.autocast(semantic_prompts.device.type, enabled=False):
            no_object = self.no_object.unsqueeze(0)
            if self.no_object_prompt is not None:
                no_object = F.normalize(self.no_object_prompt(), dim=-1)
            rows = torch.cat([semantic_prompts.float(), no_object.float()])
            embeddings = decoded.class_embeddings.float()
            if self.bridge is not None:
                scale = embeddings.norm(dim=-1, keepdim=True)
                unit = F.normalize(embeddings, dim=-1)
                embeddings = scale * F.normalize(self.bridge(unit, decoded.tokens.float()), dim=-1)
            return embeddings @ rows.t()
