"""Context prompts: the words before a class name, learned through the text encoder (CoOp)."""

from typing import Any, Dict, Optional, Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

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
        class_names, dataset, classes: As for :func:`resolve_class_names`.
        n_ctx: ``M``, the context tokens. Not with ``ctx_init``. Defaults to 16.
        ctx_init: Words that the context starts as, such as ``'a photo of a'``; ``M`` is the
            number of their tokens. Defaults to None: a random context.
        class_specific: Whether each class has a context of its own (CoOp's CSC) or all share
            one. Defaults to False.

    Attributes:
        n_ctx: ``M``, the number of context tokens.
        fits_other_classes: Whether what is learned serves other classes, too.

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
        try:  # the words, the class name and CoOp's full stop
            embedded, ends = encoder.embed([f'{words} {name}.' for name in self.class_names])
        except ValueError as error:
            raise ValueError(
                f'{error}; or give fewer words as ctx_init, or a smaller n_ctx: each learned token '
                f'takes the place of one {PLACEHOLDER!r}'
            ) from None
        # Not saved: it belongs to the names, and a learned context fits other classes too.
        self.register_buffer('embedded', embedded, persistent=False)  # (C, L, W)
        self.register_buffer('ends', ends, persistent=False)  # (C,)
        num_contexts = len(embedded) if class_specific else 1
        if ctx_init is None:
            context = CONTEXT_STD * torch.randn(num_contexts, n_ctx, embedded.shape[-1])
        else:
            end = int(encoder.embed([ctx_init])[1])
            context = embedded[:num_contexts, 1:end].clone()  # behind the mark of the start
        # (C, M, W), or (M, W) if all classes share it
        self.context = nn.Parameter(context if class_specific else context[0])
        self.n_ctx = self.context.shape[-2]
        self.fits_other_classes = not class_specific
        self.embed_dims = encoder.embed_dims
        self.text_transformer = encoder.text_transformer()

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
