"""SSPrompt on sam-tiny as it is shipped, and batches for it."""

import copy
import itertools
from pathlib import Path
from typing import Any, List, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'ssprompt_sam-tiny_shapes.py'
NUM_CLASSES = 10
SIZE = 96  # of the square input frame
IGNORED = 255
_RUNS = itertools.count()


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


def framed_config(frame: Tuple[int, int], mean: Any, std: Any, work_dir: Any) -> Config:
    """The shipped config on samples of another frame (H, W), for a model of another base.

    Few images, no workers, a validation at the end, and a checkpoint every third iteration.
    """
    config = Config.fromfile(CONFIG)
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.num_workers, loader.persistent_workers = 0, False
        labels = [dict(type='LoadAnnotations')]
        resize = [dict(type='Resize', scale=frame[::-1], keep_ratio=False)]
        # Label maps keep their size where they are compared with predictions.
        steps = [*labels, *resize] if split == 'train' else [*resize, *labels]
        pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackSegInputs')]
        loader.dataset = dict(
            type='ShapesWorldDataset', split=split, num_images=4, pipeline=pipeline
        )
    size = dict(size=frame, test_cfg=dict(size=frame), mean=mean, std=std)
    config.model.data_preprocessor = dict(config.model.data_preprocessor, **size)
    config.default_hooks.checkpoint.update(interval=3, save_best=None)
    config.work_dir = str(work_dir)
    config.randomness = dict(seed=0)
    config.log_level = 'ERROR'
    return config


def train(config: Config, **changes: Any) -> Runner:
    """Train, and return the runner."""
    config = copy.deepcopy(config)
    config.experiment_name = f'framed_{next(_RUNS)}'  # mmengine keeps loggers by name
    config.merge_from_dict(changes)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


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
            if transform.type in ('Resize', 'ResizeWithLabels'):
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
