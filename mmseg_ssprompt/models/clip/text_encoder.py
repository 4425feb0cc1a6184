"""Class names and templates to unit-length embeddings, by CLIP's frozen text tower."""

import warnings
from contextlib import contextmanager
from os import PathLike
from typing import Iterator, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.models.text_encoder import CLIPTextEncoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...class_names import check_class_names, check_templates, tokenize_class_names, tokenize_texts
from ...fingerprint import fingerprint_tensors
from ...weights.state_dicts import warn_random_weights
from ..base import Fingerprints
from . import clip_variants
from .clip_file import (
    ACTIVATIONS,
    choose_activation,
    fingerprint_with_activation,
    load_text_tower,
    read_clip_file,
)
from .clip_variants import CLIPVariant, get_clip_variant
from .text_transformer import TextTransformer

__all__ = [
    'DEFAULT_TEMPLATES',
    'CLIPClassNameEncoder',
    'build_text_encoder',
    'encode_class_names',
]

#: CLIP's own template for a class name.
DEFAULT_TEMPLATES = ('a photo of a {}.',)
_TEXTS_PER_BATCH = 256
#: Tokens of the byte-pair encoding, and of the longest text with those of its start and end.
_VOCABULARY, _CONTEXT = 49408, 77


@MODELS.register_module()
class CLIPClassNameEncoder:
    """Encodes class names with CLIP's text tower: the default semantic prompts.

    It is no module, since it is used once, when semantic prompts are built, and then dropped:
    nothing of it trains, moves to a GPU or gets into a checkpoint.

    Args:
        variant: A key of ``CLIP_VARIANTS``. Defaults to 'ViT-B/16'.
        checkpoint: A file of CLIP (OpenAI's, open_clip's or Hugging Face's), mmseg's conversion of
            one, or ``mmseg_ssprompt://NAME``. Defaults to None: random weights.
        templates: Texts with ``{}`` where the class name goes, whose embeddings are averaged, or
            the name of a predefined set of mmseg's, such as 'vild' or 'imagenet'. Defaults to the
            one template 'a photo of a {}.'.
        activation: ``'quick_gelu'`` or ``'gelu'``, of the MLPs; see :func:`choose_activation`.
            Defaults to None.

    Raises:
        ValueError: If there is no such variant, activation or set of templates, or a template has
            no ``{}``.
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the checkpoint does not fit the variant, or its activation is not known.
    """

    #: Entries of ``model.weights`` that it takes, by the arguments that they are for.
    weights_from = dict(checkpoint='clip', activation='clip_activation')

    where_to_get = staticmethod(clip_variants.where_to_get)

    def __init__(
        self,
        variant: str = 'ViT-B/16',
        checkpoint: Union[str, 'PathLike[str]', None] = None,
        templates: Union[str, Sequence[str]] = DEFAULT_TEMPLATES,
        activation: Optional[str] = None,
    ) -> None:
        self.variant = variant
        self.templates = check_templates(templates)
        self.text_encoder = build_text_encoder(variant, checkpoint, activation)
        self.pretrained = checkpoint is not None

    @property
    def embed_dims(self) -> int:
        """``E``, the width of the text space."""
        return get_clip_variant(self.variant).embed_dims

    def fingerprints(self) -> Fingerprints:
        """SHA-256 of the weights and the activation; None if the weights are random."""
        if not self.pretrained:
            return dict(text_encoder=None)
        weights = fingerprint_tensors(self.text_encoder.state_dict())
        return dict(text_encoder=fingerprint_with_activation(weights, self.activation))

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tuple[Tensor, Tensor]:
        """Embedded tokens (C, L, W) of C texts, and the index of each text's end (C,).

        Raises:
            ValueError: If a text is longer than 77 tokens.
        """
        tokens = tokenize_texts(texts)
        return self.text_encoder.token_embedding(tokens), tokens.argmax(dim=-1)

    def text_transformer(self) -> TextTransformer:
        """The text transformer as a frozen module, with gradients to embedded tokens."""
        transformer = TextTransformer(self.text_encoder)
        transformer.pretrained = self.pretrained
        return transformer

    @property
    def activation(self) -> str:
        """That of the MLPs: ``'quick_gelu'`` or ``'gelu'``."""
        activation: str = self.text_encoder.activation
        return activation

    def encode(self, class_names: Sequence[str]) -> Tensor:
        """The unit-length embeddings (C, E) of C class names; see :func:`encode_class_names`."""
        return encode_class_names(class_names, self.text_encoder, self.templates)

    __call__ = encode


def build_text_encoder(
    variant: str = 'ViT-B/16',
    checkpoint: Union[str, 'PathLike[str]', None] = None,
    activation: Optional[str] = None,
) -> CLIPTextEncoder:
    """Build mmseg's ``CLIPTextEncoder``, frozen and in eval mode.

    The state of the random number generator is left as it was found, so that a model built
    afterwards is the same with any checkpoint and with none.

    Args and Raises: as for :class:`CLIPClassNameEncoder`. Without a checkpoint weights are random
    as CLIP's are before training, and the same for the same seed.

    Returns:
        The encoder, with ``activation`` as an attribute.
    """
    geometry = get_clip_variant(variant)
    file = read_clip_file(checkpoint, variant, 'text')
    activation = choose_activation(file, activation)
    # mmseg's encoder looks its activation up in mmseg's scope, which may not be the default.
    scope = DefaultScope.overwrite_default_scope('mmseg')
    with torch.random.fork_rng(devices=[]), scope:
        encoder = CLIPTextEncoder(
            vocabulary=[],
            templates=list(DEFAULT_TEMPLATES),
            total_vocab_size=_VOCABULARY,
            context_length=_CONTEXT,
            embed_dims=geometry.text.width,
            num_layers=geometry.text.layers,
            num_heads=geometry.text.heads,
            output_dims=geometry.embed_dims,
            cache_feature=False,
            cat_bg=False,
        )
        _set_activation(encoder, activation)
        if file is None:
            _init_as_clip(encoder, geometry)
            warn_random_weights(
                f'the CLIP text encoder {variant}', clip_variants.where_to_get(variant)
            )
    if file is not None:
        load_text_tower(encoder, variant, file)
    return encoder.requires_grad_(False).eval()


@torch.no_grad()
def encode_class_names(
    class_names: Sequence[str],
    text_encoder: CLIPTextEncoder,
    templates: Union[str, Sequence[str]] = DEFAULT_TEMPLATES,
) -> Tensor:
    """Encode class names as CLIP does for zero-shot classification.

    A class is the mean over the templates of the unit-length embeddings of its texts, made unit
    length again: the numbers of ``CLIPTextEncoder.template_encode``, but no text is cut off, and
    only as many places are computed as the longest text has.

    Args:
        class_names: The C class names.
        text_encoder: The encoder; see :func:`build_text_encoder`.
        templates: See :class:`CLIPClassNameEncoder`. Defaults to the one template
            'a photo of a {}.'.

    Returns:
        Embeddings (C, E) of unit length, in float32 and without gradient.

    Raises:
        ValueError: If class names or templates are not valid (see :mod:`.class_names`), a text is
            longer than 77 tokens, or an embedding is zero or not finite.
    """
    names = check_class_names(class_names)
    tokens = tokenize_class_names(names, check_templates(templates))  # (templates, C, L)
    device = text_encoder.positional_embedding.device
    with _short_context(text_encoder, tokens.shape[-1]), torch.autocast(device.type, enabled=False):
        encoded = [
            text_encoder.encode_text(batch, normalize=True)
            for batch in tokens.flatten(0, 1).to(device).split(_TEXTS_PER_BATCH)
        ]
    texts = torch.cat(encoded).float().unflatten(0, tokens.shape[:2])  # (templates, C, E)
    embeddings = F.normalize(texts.mean(dim=0), dim=-1)  # (C, E)
    good = (embeddings.norm(dim=-1) - 1).abs() < 1e-3  # also False where it is NaN
    if not good.all():
        bad = (~good).nonzero().flatten().tolist()
        raise ValueError(
            f'the embedding of class name {names[bad[0]]!r} (index {bad[0]}; {len(bad)} of '
            f'{len(names)}) is zero or not finite: the weights of the text encoder are damaged'
        )
    return embeddings


@contextmanager
def _short_context(encoder: CLIPTextEncoder, length: int) -> Iterator[None]:
    """Let ``encoder`` take texts of ``length`` tokens instead of 77.

    Attention is causal and the embedding is read at a text's end, so the places behind it have no
    influence: leaving them out is exact.
    """
    positional_embedding, attn_mask = encoder.positional_embedding, encoder.attn_mask
    encoder.positional_embedding = nn.Parameter(positional_embedding[:length], requires_grad=False)
    encoder.attn_mask = attn_mask[:length, :length]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Use same attn_mask in all attentions', UserWarning)
            yield
    finally:
        encoder.positional_embedding = positional_embedding
        encoder.attn_mask = attn_mask


def _set_activation(encoder: CLIPTextEncoder, activation: str) -> None:
    """Put another activation into the place of mmseg's, which has no setting for it."""
    encoder.activation = activation
    for block in encoder.transformer:
        block.ffns[0].layers[0][1] = MODELS.build(ACTIVATIONS[activation])


def _init_as_clip(encoder: CLIPTextEncoder, geometry: CLIPVariant) -> None:
    """Draw weights as CLIP does before training; mmseg leaves some of them uninitialised."""
    width_std = geometry.text.width**-0.5
    residual_std = width_std * (2 * geometry.text.layers) ** -0.5
    nn.init.normal_(encoder.token_embedding.weight, std=0.02)
    nn.init.normal_(encoder.positional_embedding, std=0.01)
    nn.init.normal_(encoder.text_projection, std=width_std)
    for block in encoder.transformer:
        attention, ffn = block.attentions[0].attn, block.ffns[0]
        nn.init.normal_(attention.in_proj_weight, std=width_std)
        nn.init.normal_(attention.out_proj.weight, std=residual_std)
        nn.init.normal_(ffn.layers[0][0].weight, std=(2 * geometry.text.width) ** -0.5)
        nn.init.normal_(ffn.layers[1].weight, std=residual_std)
