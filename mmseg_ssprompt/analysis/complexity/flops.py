"""Parameters, and the floating-point operations of one image by part of the model.

Operations are counted by torch's ``FlopCounterMode`` in a real forward pass: those of matrix
products, convolutions and attention, where a multiplication and an addition are two. Additions,
norms, activations, soft-max and interpolation do not count, as is the custom.
"""

import warnings
from typing import Any, Callable, Dict

import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ...models import SSPromptHead

__all__ = ['PARTS', 'count_flops', 'count_parameters', 'make_counter']

#: The columns that :func:`count_flops` gives beside ``total``, which is their sum.
PARTS = ('image_encoder', 'prompt_encoder', 'mask_decoder', 'classifier_and_rest')


def count_parameters(model: nn.Module) -> Dict[str, int]:
    """Numbers in the parameters, without buffers: ``trainable`` and ``frozen``."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return dict(
        trainable=sum(size for size, trains in sizes if trains),
        frozen=sum(size for size, trains in sizes if not trains),
    )


def count_flops(model: BaseSegmentor, batch: Dict[str, Any]) -> Dict[str, int]:
    """Operations of one prediction, from the image to its label map.

    Args:
        model: The segmentor, in eval mode.
        batch: One image, as a data loader gives it.

    Returns:
        Operations of :data:`PARTS` and of all together, ``total``. ``prompt_encoder`` is what
        makes the spatial and semantic prompts, with CoOp's text encoder.
    """
    counter = make_counter(model)
    with torch.no_grad(), counter:
        model.test_step(batch)
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    root, total = type(model).__name__, counter.get_total_flops()
    flops = dict(
        image_encoder=by_module.get(f'{root}.backbone', 0),
        prompt_encoder=_count_prompts(model.decode_head),
        mask_decoder=by_module.get(f'{root}.decode_head.segmenter.mask_decoder', 0),
    )
    return dict(flops, classifier_and_rest=total - sum(flops.values()), total=total)


def _count_prompts(head: nn.Module) -> int:
    """Operations of what :class:`SSPromptHead` gives to its decoder and its classifier.

    Counted apart: the prompt encoder's methods are no module of their own in the counter's eyes.
    """
    if not isinstance(head, SSPromptHead):
        return 0
    counter = make_counter(head)
    with torch.no_grad(), counter:
        head.segmenter.prompt_encoder.image_pe()
        head.segmenter.prompt_encoder.dense_prompt()
        head.spatial_prompts(head.segmenter)
        head.semantic_prompts()
    return counter.get_total_flops()


def make_counter(model: nn.Module) -> FlopCounterMode:
    """A counter that tells the modules of ``model`` apart, and knows attention on CPUs.

    ``mmengine.analysis.FlopAnalyzer`` passes ``scaled_dot_product_attention`` over with a warning,
    and torch's registry lacks the operator that it becomes on CPUs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch < 2.4 needs the modules, later ones find them
        return FlopCounterMode(model, display=False, custom_mapping=_cpu_attention())


def _cpu_attention() -> Dict[Any, Callable[..., int]]:
    """The count for attention on CPUs, where torch has that operator (from 2.2 on)."""
    name = '_scaled_dot_product_flash_attention_for_cpu'
    if not hasattr(torch.ops.aten, name):
        return {}

    def count(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    return {getattr(torch.ops.aten, name): count}
