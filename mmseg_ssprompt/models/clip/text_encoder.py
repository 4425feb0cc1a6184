"""Class names and templates to unit-length embeddings, by CLIP's frozen text tower."""

from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.models.text_encoder import CLIPTextEncoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from ...class_names import check_class_names, check_templates, tokenize_class_names, tokenize_texts
from ...fingerprint import fingerprint_tensors
from ...weights.state_dicts import FilePath, warn_random_weights
from ..base import Fingerprints, FrozenModule, average_templates
from . import clip_variants
from .clip_file import (
    ACTIVATIONS,
    choose_activation,
    fingerprint_with_activation,
    load_text_tower,
    read_clip_file,
)
from .clip_variants import get_clip_variant
from .image_tower import init_blocks

__all__ = ['CLIPClassNameEncoder', 'build_text_encoder', 'encode_class_names']

#: CLIP's own template for a class name.
DEFAULT_TEMPLATES = ('a photo of a {}.',)
_TEXTS_PER_BATCH = 256
#: Tokens of the byte-pair encoding, and of the longest text with those of its start and end.
_VOCABULARY, _CONTEXT = 49408, 77


class TextTransformer(FrozenModule):
    """CLIP's frozen text transformer, with gradients to the embedded tokens that go in.

    ``CLIPTextEncoder.encode_text`` of mmseg takes token ids of 77 places, under ``no_grad``. This
    is the same computation on the same modules, without the table of tokens.

    Args:
        text_encoder: What :func:`build_text_encoder` returns, whose modules are taken over.

    Shape:
        Input: embedded tokens (C, L, W) of width W, and the index of each text's end (C,).
        Output: (C, E), of unit length.
    """

    part = 'text_transformer'

    def __init__(self, text_encoder: CLIPTextEncoder) -> None:
        super().__init__()
        self.blocks = text_encoder.transformer
        self.norm = text_encoder.ln_final
        self.positional_embedding = text_encoder.positional_embedding  # (77, W)
        self.projection = text_encoder.text_projection  # (W, E)
        self.register_buffer('attn_mask', text_encoder.attn_mask, persistent=False)
        self.activation: str = text_encoder.activation
        self.freeze()

    def _describe_weights(self, weights: str) -> str:
        return fingerprint_with_activation(weights, self.activation)

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """Encode C texts: (C, E)."""
        length = embedded.shape[1]  # attention is causal: places behind have no influence
        mask = self.attn_mask[:length, :length]
        x = (embedded + self.positional_embedding[:length]).transpose(0, 1)  # (L, C, W)
        for block in self.blocks:
            x = block(query=x, attn_masks=[mask])
        x = self.norm(x)[ends, torch.arange(len(ends), device=ends.device)]  # (C, W)
        return F.normalize(x @ self.projection, dim=-1)


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
        checkpoint: Optional[FilePath] = None,
        templates: Union[str, Sequence[str]] = DEFAULT_TEMPLATES,
        activation: Optional[str] = None,
    ) -> None:
        self.variant = variant
        self.embed_dims = get_clip_variant(variant).embed_dims
        self.templates = check_templates(templates)
        self.text_encoder = build_text_encoder(variant, checkpoint, activation)
        self.activation: str = self.text_encoder.activation
        self.pretrained = checkpoint is not None

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

    def encode(self, class_names: Sequence[str]) -> Tensor:
        """The unit-length embeddings (C, E) of C class names; see :func:`encode_class_names`."""
        return encode_class_names(class_names, self.text_encoder, self.templates)


def build_text_encoder(
    variant: str = 'ViT-B/16',
    checkpoint: Optional[FilePath] = None,
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
        encoder.activation = activation
        for block in encoder.transformer:  # mmseg has no setting for it
            block.ffns[0].layers[0][1] = MODELS.build(ACTIVATIONS[activation])
        if file is None:
            _init_as_clip(encoder)
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
        text_encoder: What :func:`build_text_encoder` returns.
        templates: As for :class:`CLIPClassNameEncoder`.

    Returns:
        Embeddings (C, E) of unit length, in float32 and without gradient.

    Raises:
        ValueError: If class names or templates are not valid (see :mod:`.class_names`), a text is
            longer than 77 tokens, or an embedding is zero or not finite.
    """
    names = check_class_names(class_names)
    tokens = tokenize_class_names(names, check_templates(templates))  # (templates, C, L)
    device = text_encoder.positional_embedding.device
    transformer = TextTransformer(text_encoder)
    with torch.autocast(device.type, enabled=False):
        encoded = [
            transformer(text_encoder.token_embedding(batch), batch.argmax(dim=-1))
            for batch in tokens.flatten(0, 1).to(device).split(_TEXTS_PER_BATCH)
        ]
    texts = torch.cat(encoded).float().unflatten(0, tokens.shape[:2])  # (templates, C, E)
    return average_templates(texts, names, 'the text encoder')


def _init_as_clip(encoder: CLIPTextEncoder) -> None:
    """Draw weights as CLIP does before training; mmseg leaves some of them uninitialised."""
    nn.init.normal_(encoder.token_embedding.weight, std=0.02)
    nn.init.normal_(encoder.positional_embedding, std=0.01)
    nn.init.normal_(encoder.text_projection, std=len(encoder.text_projection) ** -0.5)
    init_blocks([(block.attentions[0].attn, block.ffns[0]) for block in encoder.transformer])
