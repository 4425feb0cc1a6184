"""The contracts of base models: what a new one has to fulfil, and all that the rest asks of it.

A base model is an image encoder (a registered backbone), a segmenter and, where it has a text
space of its own, a text encoder. Frozen parts derive from :class:`FrozenModule`.
"""

from typing import Any, Dict, Mapping, Optional, Protocol, Sequence, Tuple, runtime_checkable

from torch import Tensor, nn

from .features import Decoded, ImageFeatures

__all__ = [
    'ClassNameEncoder',
    'Classifier',
    'Fingerprints',
    'ImageEncoder',
    'PromptableSegmenter',
    'Shape',
]

#: SHA-256 of the weights of each frozen part, by the part's name; None for random weights.
Fingerprints = Dict[str, Optional[str]]
#: Sizes of a tensor without the batch; None where they depend on the image.
Shape = Tuple[Optional[int], ...]


@runtime_checkable
class ImageEncoder(Protocol):
    """A frozen image encoder, registered as a backbone.

    Attributes:
        pixel_mean: Of R, G and B, between 0 and 255, by which images come normalised.
        pixel_std: Their standard deviations.
        divisor: What sides of the frame are multiples of.
        frame: (H, W) in pixels if only one size is taken; None if any multiple of the divisor is.
    """

    pixel_mean: Tuple[float, float, float]
    pixel_std: Tuple[float, float, float]
    divisor: int
    frame: Optional[Tuple[int, int]]

    def forward(self, x: Tensor) -> ImageFeatures:
        """Encode normalised, padded images (B, 3, H, W), without gradients."""

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of the frozen parts."""

    @staticmethod
    def frame_of(config: Mapping[str, Any]) -> Optional[Tuple[int, int]]:
        """:attr:`frame` of an encoder of this config."""

    @staticmethod
    def feature_shapes(config: Mapping[str, Any]) -> Dict[str, Shape]:
        """Shapes of :meth:`ImageFeatures.named` that an encoder of this config gives."""

    @staticmethod
    def fingerprint_files(config: Mapping[str, Any]) -> Fingerprints:
        """What :meth:`fingerprints` of an encoder of this config says, read from its files alone.

        A part whose file the config does not name has None.
        """


@runtime_checkable
class PromptableSegmenter(Protocol):
    """A frozen base model without its image encoder: from prompts and features to masks.

    Points are fractions of the padded frame, (0, 0) its upper left and (1, 1) its lower right
    corner, x before y.

    Attributes:
        kind: Name of the base model, such as ``'sam'``.
        token_dims: ``D``, the width of spatial prompts and of output tokens.
        tokens_per_prompt: ``T``, the tokens of a default spatial prompt; other kinds of prompts may
            have more or fewer.
        masks_per_prompt: Masks that come out for each prompt.
        trainable: Whether a part of it trains, as a baseline.
        prompts_see_image: Whether the encoding of points and boxes depends on the image.
        predicts_iou: Whether :attr:`Decoded.quality` is there.
    """

    kind: str
    token_dims: int
    tokens_per_prompt: int
    masks_per_prompt: int
    trainable: bool
    prompts_see_image: bool
    predicts_iou: bool

    def encode_points(self, xy: Tensor, features: Optional[ImageFeatures] = None) -> Tensor:
        """Encode one foreground point as one prompt.

        Args:
            xy: (N, 2) float, x and y in [0, 1].
            features: Of the images. Without them, an encoding that sees the image is what is known
                without one, from which learned prompts start.

        Returns:
            (N, T, D); (B, N, T, D) where the encoding sees the image and features are given.
        """

    def encode_boxes(self, xyxy: Tensor, features: Optional[ImageFeatures] = None) -> Tensor:
        """As :meth:`encode_points`, for boxes (N, 4): left, top, right, bottom in [0, 1]."""

    def default_prompts(self) -> Optional[Tensor]:
        """The base model's own queries (N, T, D), the default where it has any; else None."""

    def decode(self, features: ImageFeatures, spatial: Tensor) -> Decoded:
        """Decode masks, with gradients to the prompts.

        Args:
            features: Of B images.
            spatial: (N, T, D), or (B, N, T, D) where prompts differ between images.
        """

    def no_object(self) -> Optional[Tensor]:
        """The text embedding (E,) of "no object"; None if the base model has none."""

    def fingerprints(self) -> Fingerprints:
        """Fingerprints of the frozen parts; ``prompt_encoder`` encodes points and boxes."""


@runtime_checkable
class ClassNameEncoder(Protocol):
    """A text encoder; it is used when semantic prompts are built.

    Attributes:
        embed_dims: ``E``, the width of the text space.
        templates: Texts with ``{}`` where a class name goes.
    """

    embed_dims: int
    templates: Sequence[str]

    def encode(self, class_names: Sequence[str]) -> Tensor:
        """The embeddings (C, E) of class names, of unit length."""

    def embed(self, texts: Sequence[str]) -> Tuple[Tensor, Tensor]:
        """Look up the tokens of C texts.

        Returns:
            The embedded tokens (C, L, W), and the index of each text's end (C,); the first token
            stands for the beginning.

        Raises:
            ValueError: If a text is too long.
        """

    def text_transformer(self) -> nn.Module:
        """A frozen module from embedded tokens and ends to (C, E), with gradients to the tokens."""

    def fingerprints(self) -> Fingerprints:
        """Fingerprint of the weights, as ``text_encoder``."""


@runtime_checkable
class Classifier(Protocol):
    """From decoded masks and semantic prompts to class logits.

    Its class takes ``token_dims`` and ``embed_dims``, which the head fills in, and ``no_object``,
    of :meth:`PromptableSegmenter.no_object`, if it has such an argument.

    Attributes:
        trainable: Whether anything in it is meant to train.
    """

    trainable: bool

    def forward(self, decoded: Decoded, semantic: Tensor, features: ImageFeatures) -> Tensor:
        """Class logits (B, N, C + 1) of each mask, the last for "no object"."""

    def describe(self) -> str:
        """What prompts were trained through, for their metadata."""
