"""The whole model with random weights, and a batch for it."""

import argparse
from pathlib import Path
from typing import List

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import nn

import mmseg_ssprompt.models  # noqa: F401  (before mmseg, which it makes possible)

from mmseg.registry import MODELS  # isort: skip
from mmseg.structures import SegDataSample  # isort: skip

__all__ = ['build_model', 'make_samples']

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def build_model(args: argparse.Namespace) -> nn.Module:
    """SSPrompt on ADE20K (150 classes), or on sam-tiny, without any file of weights."""
    init_default_scope('mmseg')
    config = 'ssprompt_sam-tiny_shapes.py' if args.small else 'ssprompt_sam_ade20k.py'
    cfg = Config.fromfile(CONFIGS / config).model
    head = cfg.decode_head
    for part in (cfg.backbone, head.prompt_encoder, head.mask_decoder):
        part.update(checkpoint=None, variant=args.variant)
    head.semantic_prompts.text_encoder.checkpoint = None
    head.spatial_prompts.num_prompts = args.prompts
    torch.manual_seed(0)
    return MODELS.build(cfg)


def make_samples(model: nn.Module, count: int) -> List[SegDataSample]:
    """Data samples with blocks of random labels, as large as the input frame."""
    side = model.decode_head.prompt_encoder.image_size
    shape = (side, side)
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, padding_size=[0, 0, 0, 0])
    samples = []
    for _ in range(count):
        blocks = torch.randint(model.decode_head.num_classes, (8, 8))
        labels = blocks.repeat_interleave(side // 8, 0).repeat_interleave(side // 8, 1)
        samples.append(SegDataSample(metainfo=meta))
        samples[-1].gt_sem_seg = PixelData(data=labels[None])
    return samples
