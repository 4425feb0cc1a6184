"""The whole model with random weights, and a batch for it."""

import argparse
from pathlib import Path
from typing import List, Tuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import nn

import mmseg_ssprompt.models  # noqa: F401  (before mmseg, which it makes possible)

from mmseg.registry import MODELS  # isort: skip
from mmseg.structures import SegDataSample  # isort: skip

__all__ = ['build_class_name_encoder', 'build_model', 'build_seem_model', 'make_samples']

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def build_model(args: argparse.Namespace, clip: bool = False, compile: bool = False) -> nn.Module:
    """SSPrompt on SAM, or on sam-tiny, for C classes, without any file of weights.

    Args:
        args: Of the command line.
        clip: Whether CLIP's image encoder labels the masks. Defaults to False: their tokens do.
        compile: ``decode_head.compile``. Defaults to False.
    """
    init_default_scope('mmseg')
    cfg = _read_config(args, clip)
    sam = cfg.backbone.get('sam', cfg.backbone)
    for part in (sam, cfg.decode_head.segmenter):
        part.update(variant=args.variant)
    cfg.decode_head.spatial_prompts.num_prompts = args.prompts
    cfg.decode_head.compile = compile
    return _build(cfg, args)


def build_seem_model(args: argparse.Namespace) -> nn.Module:
    """SSPrompt on SEEM with its own queries, for C classes, without any file of weights.

    Class names go through one template instead of 81: that is over before training starts.
    """
    init_default_scope('mmseg')
    cfg = Config.fromfile(CONFIGS / 'ssprompt_seem_focal-t_ade20k.py').model
    cfg.weights = None
    text_encoder = cfg.decode_head.semantic_prompts.text_encoder
    text_encoder.templates = ['{}']
    for part in (cfg.backbone, cfg.decode_head.segmenter, text_encoder):
        part.variant = args.seem_variant
    return _build(cfg, args)


def _build(cfg: ConfigDict, args: argparse.Namespace) -> nn.Module:
    cfg.decode_head.num_classes = args.classes
    semantic = cfg.decode_head.semantic_prompts
    semantic.pop('dataset')
    semantic.class_names = [f'class {number}' for number in range(args.classes)]
    torch.manual_seed(0)
    return MODELS.build(cfg).to(args.device)


def build_class_name_encoder(args: argparse.Namespace) -> object:
    """What encodes the class names of the model."""
    init_default_scope('mmseg')
    return MODELS.build(_read_config(args).decode_head.semantic_prompts.text_encoder)


def _read_config(args: argparse.Namespace, clip: bool = False) -> ConfigDict:
    base = 'ssprompt_sam-clip' if clip else 'ssprompt_sam'
    config = f'{base}-tiny_shapes.py' if args.small else f'{base}_ade20k.py'
    cfg = Config.fromfile(CONFIGS / config).model
    cfg.weights = None
    return cfg


def make_samples(model: nn.Module, count: int, frame: Tuple[int, int]) -> List[SegDataSample]:
    """Data samples with blocks of random labels, as large as the input frame (H, W)."""
    head, device = model.decode_head, next(model.parameters()).device
    height, width = frame
    meta = dict(img_shape=frame, ori_shape=frame, pad_shape=frame, padding_size=[0, 0, 0, 0])
    samples = []
    for _ in range(count):
        blocks = torch.randint(head.num_classes, (8, 8))
        labels = blocks.repeat_interleave(height // 8, 0).repeat_interleave(width // 8, 1)
        samples.append(SegDataSample(metainfo=meta))
        samples[-1].gt_sem_seg = PixelData(data=labels[None].to(device))
    return samples
