"""Context prompts: the words before a class name, learned through the text encoder (CoOp)."""

from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..base import ClassNameEncoder
from .semantic import resolve_class_names

__all__ = ['ContextPromptLearner']

PLACEHOLDER = 'x'  # one token, in whose place a context token goes
CONTEXT_STD = 0.02  # of CoOp's random context, that of CLIP's own token embeddings at their start


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
        text_encoder: Dict[str, Any],
        class_names: Optional[Sequence[str]] = None,
        dataset: Optional[str] = None,
        classes: Optional[Sequence[str]] = None,
        n_ctx: int = 16,
        ctx_init: Optional[str] = None,
        class_specific: bool = False,
    ) -> None:
        super().__init__()
        self.class_names = resolve_class_names(class_names, dataset, classes)
        encoder = MODELS.build(text_encoder)
        words = _context_words(n_ctx, ctx_init)
        embedded, ends = _embed(encoder, self.class_names, words)  # (C, L, W), (C,)
        # Not saved: it belongs to the names, and a learned context fits other classes too.
        self.register_buffer('embedded', embedded, persistent=False)
        self.register_buffer('ends', ends, persistent=False)
        length = n_ctx if ctx_init is None else int(encoder.embed([ctx_init])[1]) - 1
        context = _initial_context(embedded, length, ctx_init is None, class_specific)
        self.context = nn.Parameter(context)
        self.embed_dims = encoder.embed_dims
        self.text_transformer = encoder.text_transformer()

    @property
    def n_ctx(self) -> int:
        """``M``, the number of context tokens."""
        return self.context.shape[-2]

    @property
    def fits_other_classes(self) -> bool:
        """Whether what is learned is shared by all classes, and so serves others too."""
        return self.context.ndim == 2

    def forward(self) -> Tensor:
        """The semantic prompts: (C, E), of unit length."""
        context = self.context.expand(len(self.class_names), -1, -1)  # (C, M, W)
        start, rest = self.embedded[:, :1], self.embedded[:, 1 + self.n_ctx :]
        with torch.autocast(context.device.type, enabled=False):
            tokens = torch.cat([start, context, rest], dim=1)
            prompts: Tensor = self.text_transformer(tokens, self.ends)
        return prompts


def _context_words(n_ctx: int, ctx_init: Optional[str]) -> str:
    """The initial context as words, with a placeholder for each token of a random one."""
    if ctx_init is None:
        if type(n_ctx) is not int or n_ctx < 1:
            raise ValueError(f'n_ctx must be a positive number of context tokens, got {n_ctx!r}')
        return ' '.join([PLACEHOLDER] * n_ctx)
    if not isinstance(ctx_init, str) or not ctx_init.strip() or set(ctx_init) & set('{}'):
        raise ValueError(f'ctx_init must be words such as "a photo of a", got {ctx_init!r}')
    return ctx_init


def _embed(
    encoder: ClassNameEncoder, class_names: Sequence[str], words: str
) -> Tuple[Tensor, Tensor]:
    """Embedded tokens (C, L, W) and ends (C,) of ``words``, the class name and CoOp's full stop."""
    texts = [f'{words} {name}.' for name in class_names]
    try:
        return encoder.embed(texts)
    except ValueError:
        for index, (name, text) in enumerate(zip(class_names, texts)):
            _check_text(encoder, text, f'class name {name!r} (index {index})')
        raise


def _check_text(encoder: ClassNameEncoder, text: str, name: str) -> None:
    """Say which class has a text that the encoder refuses."""
    try:
        encoder.embed([text])
    except ValueError as error:
        raise ValueError(
            f'{name}: {error} (the text begins with ctx_init, or {PLACEHOLDER!r} for each of '
            'n_ctx learned tokens, of which there may be fewer)'
        ) from None


def _initial_context(
    embedded: Tensor, length: int, is_random: bool, class_specific: bool
) -> Tensor:
    """The context at the start: (C, M, W) if it is specific to classes, else (M, W)."""
    num_contexts = len(embedded) if class_specific else 1
    if is_random:
        context = CONTEXT_STD * torch.randn(num_contexts, length, embedded.shape[-1])
    else:
        context = embedded[:num_contexts, 1 : 1 + length].clone()  # behind the mark of the start
    return context if class_specific else context[0]
