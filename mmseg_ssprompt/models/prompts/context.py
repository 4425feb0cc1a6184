"""Context prompts: the words before a class name, learned through the text encoder (CoOp)."""

from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.models.text_encoder import CLIPTextEncoder
from mmseg.registry import MODELS
from mmseg.utils import tokenize
from torch import Tensor, nn

from ...class_names import check_templates, tokenize_class_names
from ..base.frozen import FrozenModule
from ..clip.activation import fingerprint_with_activation
from .semantic import resolve_class_names

__all__ = ['ContextPromptLearner', 'TextTransformer']

PLACEHOLDER = 'x'  # one token of CLIP's, in whose place a context token goes
CONTEXT_STD = 0.02  # of CoOp's random context, that of CLIP's own token embeddings at their start


class TextTransformer(FrozenModule):
    """CLIP's frozen text transformer, with gradients to the embedded tokens that go in.

    ``CLIPTextEncoder.encode_text`` of mmseg takes token ids, under ``no_grad``. This is the same
    computation on the same modules, without the table of tokens.

    Args:
        text_encoder: What :func:`build_text_encoder` returns, whose modules are taken over.

    Shape:
        Input: embedded tokens (C, L, W) of width W, and the index of each text's end (C,).
        Output: (C, E), of unit length.
    """

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
class ContextPromptLearner(BaseModule):
    """CoOp's baseline of semantic prompts: context tokens, through the frozen text encoder.

    ``t_c = [V]_1 [V]_2 ... [V]_M [CLASS_c] .`` with learned vectors ``[V]_m`` of the width of
    word embeddings, and the semantic prompt of class c is the text encoder's ``g(t_c)``, made unit
    length (CoOp, arXiv 2109.01134, section 3.2, with the class at the end; full stop and random
    start as in its published code). Interchangeable with
    :class:`~mmseg_ssprompt.models.prompts.SemanticPromptLearner`, but the text encoder runs in
    every step, in testing too. Encoded in float32, also under autocast.

    Args:
        text_encoder: Config of a class-name encoder, such as ``CLIPClassNameEncoder``, whose
            templates are not used.
        class_names: The C class names. Defaults to None: those of ``dataset``.
        dataset: Registered type of the data set whose classes are prompted.
        classes: Those of the data set's classes that are prompted, by its own names. Defaults to
            None: all.
        n_ctx: ``M``, the context tokens. Not with ``ctx_init``. Defaults to 16.
        ctx_init: Words that the context starts as, such as ``'a photo of a'``; ``M`` is the
            number of their tokens. Defaults to None: a random context.
        class_specific: Whether each class has a context of its own (CoOp's CSC) or all share
            one. Defaults to False.

    Shape:
        Output: (C, E), of unit length.

    Raises:
        ValueError: If the class names are not valid (see :func:`resolve_class_names`), ``n_ctx``
            or ``ctx_init`` is not, or context and name are longer than 77 tokens.
    """

    embedded: Tensor
    ends: Tensor

    def __init__(
        self,
        text_encoder: dict,
        class_names: Optional[Sequence[str]] = None,
        dataset: Optional[str] = None,
        classes: Optional[Sequence[str]] = None,
        n_ctx: int = 16,
        ctx_init: Optional[str] = None,
        class_specific: bool = False,
    ) -> None:
        super().__init__()
        self.class_names = resolve_class_names(class_names, dataset, classes)
        tokens = _tokenize(self.class_names, _context_words(n_ctx, ctx_init))  # (C, L)
        class_name_encoder = MODELS.build(text_encoder)
        encoder = class_name_encoder.text_encoder
        with torch.no_grad():
            embedded = encoder.token_embedding(tokens)  # (C, L, W)
        # Of the names, not of what is learned: a context fits other classes too, so not saved.
        self.register_buffer('embedded', embedded, persistent=False)
        self.register_buffer('ends', tokens.argmax(dim=-1), persistent=False)
        self.context = nn.Parameter(_initial_context(embedded, n_ctx, ctx_init, class_specific))
        self.text_transformer = TextTransformer(encoder)
        self.text_transformer.pretrained = class_name_encoder.pretrained

    @property
    def n_ctx(self) -> int:
        """``M``, the number of context tokens."""
        return self.context.shape[-2]

    @property
    def embed_dims(self) -> int:
        """``E``, the width of the text space."""
        return self.text_transformer.projection.shape[1]

    @property
    def fits_other_classes(self) -> bool:
        """Whether what is learned is shared by all classes, and so serves others too."""
        return self.context.ndim == 2

    def forward(self) -> Tensor:
        """The semantic prompts: (C, E), of unit length."""
        context = self.context.expand(len(self.class_names), -1, -1)  # (C, M, W)
        start, rest = self.embedded[:, :1], self.embedded[:, 1 + self.n_ctx :]
        with torch.autocast(context.device.type, enabled=False):
            return self.text_transformer(torch.cat([start, context, rest], dim=1), self.ends)


def _context_words(n_ctx: int, ctx_init: Optional[str]) -> str:
    """The initial context as words, with a placeholder for each token of a random one."""
    if ctx_init is None:
        if type(n_ctx) is not int or n_ctx < 1:
            raise ValueError(f'n_ctx must be a positive number of context tokens, got {n_ctx!r}')
        return ' '.join([PLACEHOLDER] * n_ctx)
    if not isinstance(ctx_init, str) or not ctx_init.strip():
        raise ValueError(f'ctx_init must be words such as "a photo of a", got {ctx_init!r}')
    return ctx_init


def _tokenize(class_names: Sequence[str], words: str) -> Tensor:
    """Tokens (C, L) of ``words``, the class name and CoOp's full stop."""
    try:
        return tokenize_class_names(class_names, check_templates([f'{words} {{}}.']))[0]
    except ValueError as error:
        raise ValueError(
            f'{error} (here the template is the context: ctx_init, or {PLACEHOLDER!r} for each '
            'of n_ctx learned tokens, of which there may be fewer)'
        ) from None


def _initial_context(
    embedded: Tensor, n_ctx: int, ctx_init: Optional[str], class_specific: bool
) -> Tensor:
    """The context at the start: (C, M, W) if it is specific to classes, else (M, W)."""
    num_contexts = len(embedded) if class_specific else 1
    if ctx_init is None:
        context = CONTEXT_STD * torch.randn(num_contexts, n_ctx, embedded.shape[-1])
    else:
        length = int(tokenize(ctx_init).argmax()) - 1  # without the marks of start and end
        context = embedded[:num_contexts, 1 : 1 + length].clone()
    return context if class_specific else context[0]
