"""SSPrompt on sam-tiny as it is shipped, and batches for it."""

from pathlib import Path
from typing import Any, List, Optional

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'ssprompt_sam-tiny_shapes.py'
NUM_CLASSES = 10
SIZE = 96  # of the square input frame
IGNORED = 255


def tiny_config(mode: str = 'learned_weight', **options: Any) -> Config:
    """The shipped config, with the fusion mode of both prompts and ``key.key=value`` options."""
    config = Config.fromfile(CONFIG)
    for prompts in ('spatial_prompts', 'semantic_prompts'):
        config.model.decode_head[prompts].fusion.mode = mode
    config.model.test_cfg.logits = True  # tests look at the scores
    config.merge_from_dict({f'model.decode_head.{key}': value for key, value in options.items()})
    return config


def build_tiny(mode: str = 'learned_weight', seed: int = 0, **options: Any) -> nn.Module:
    """The model of :func:`tiny_config`, in eval mode."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmseg'):  # fixtures of modules are built outside it
        return MODELS.build(tiny_config(mode, **options).model).eval()


def random_images(count: int = 2, seed: int = 0) -> Tensor:
    """Normalised images (B, 3, S, S)."""
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def samples_of(labels: Tensor) -> List[SegDataSample]:
    """Data samples of label maps (B, H, W)."""
    meta = dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE), padding_size=[0, 0, 0, 0])
    samples = [SegDataSample(metainfo=meta) for _ in labels]
    for sample, label_map in zip(samples, labels):
        sample.gt_sem_seg = PixelData(data=label_map[None])
    return samples


def random_labels(count: int = 2, seed: int = 0) -> Tensor:
    """Label maps (B, S, S) in blocks of some classes, with ignored pixels below."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(NUM_CLASSES, (count, 4, 4), generator=generator)
    labels = blocks.repeat_interleave(SIZE // 4, 1).repeat_interleave(SIZE // 4, 2)
    labels[:, 80:] = IGNORED
    return labels


def training_loss(
    model: nn.Module, labels: Optional[Tensor] = None, images: Optional[Tensor] = None
) -> Tensor:
    """The sum of the losses, drawn with the same points each time."""
    images = random_images() if images is None else images
    labels = random_labels(len(images)) if labels is None else labels
    torch.manual_seed(0)
    losses = model(images, samples_of(labels), mode='loss')
    return sum(value for key, value in losses.items() if 'loss' in key)


def names_of_trainable(model: nn.Module) -> List[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad]


def use_sam_tiny(config: Config) -> None:
    """Put sam-tiny's weights and size in the place of those that cannot be shipped."""
    model, head = config.model, config.model.decode_head
    sam = dict(variant='tiny', checkpoint='mmseg_ssprompt://sam-tiny_shapes.pth')
    for part in (model.backbone.get('sam', model.backbone), head.segmenter):
        part.update(sam)
    if 'clip' in model.backbone:
        clip = dict(variant='tiny', checkpoint='mmseg_ssprompt://clip-pair-tiny_shapes.pth')
        model.backbone.clip.update(clip, image_size=SIZE)
        head.classifier.update(clip)
    else:
        clip = dict(variant='tiny', checkpoint='mmseg_ssprompt://clip-tiny_shapes.pth')
        head.classifier.checkpoint = 'mmseg_ssprompt://projection-tiny_shapes.pth'
    head.semantic_prompts.text_encoder.update(clip)
    head.loss_decode.num_points = 512
    size = (SIZE, SIZE)
    model.data_preprocessor.update(size=size, test_cfg=dict(size=size))
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        for transform in dataset.get('dataset', dataset).pipeline:
            if transform.type == 'Resize':
                transform.scale = size


def use_tiny_seem(config: Config, file: str) -> None:
    """Put the tiny SEEM and small images in the place of those of a config on SEEM.

    Args:
        config: Is changed.
        file: As :func:`seem_files.save_official_file` writes it for ``'tiny'``.
    """
    model, head = config.model, config.model.decode_head
    model.weights = dict(seem=file)
    for part in (model.backbone, head.segmenter, head.semantic_prompts.text_encoder):
        part.variant = 'focal_tiny'
    head.semantic_prompts.text_encoder.templates = ['{}.']
    head.loss_decode.num_points = 128
    for split in ('train', 'val', 'test'):
        dataset = config[f'{split}_dataloader'].dataset
        for transform in dataset.get('dataset', dataset).pipeline:
            if transform.type == 'SEEMResize':
                transform.update(min_size=48, max_size=96)
