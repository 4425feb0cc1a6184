"""The model of a configuration, and a batch for it, without weight files or data."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import Tensor

from ...models.base.precomputed import PrecomputedFeatures
from ...weights.state_dicts import resolve_checkpoint_path

from mmseg.models.segmentors import BaseSegmentor  # isort: skip
from mmseg.registry import MODELS  # isort: skip  (after mmseg_ssprompt, which makes it possible)
from mmseg.structures import SegDataSample  # isort: skip

__all__ = ['Subject', 'build_subject', 'make_batch', 'use_random_weights']

_BLOCKS = 3  # along each side of the label map, each of another class as far as there are so many


class Subject(NamedTuple):
    """What is measured.

    Attributes:
        cfg: The config, with random weights where they were asked for.
        model: The segmentor, on its device.
        random_weights: The files in whose place there are random weights.
    """

    cfg: Config
    model: BaseSegmentor
    random_weights: List[str]

    @property
    def frame(self) -> Tuple[int, int]:
        """Height and width in pixels of the padded frame that the image encoder sees."""
        frame = self.model.backbone.frame or self.cfg.model.data_preprocessor.size
        return frame[0], frame[1]


def build_subject(config: Path, random_weights: bool, device: str) -> Subject:
    """Build the model of a config.

    Args:
        config: Path of the config.
        random_weights: Whether weight files that are not there are done without.
        device: Such as ``'cpu'`` or ``'cuda:0'``.

    Raises:
        RuntimeError: If the model cannot be built; names the config and the cause.
    """
    try:
        cfg = Config.fromfile(config)
        missing = use_random_weights(cfg.model) if random_weights else []
        init_default_scope(cfg.get('default_scope', 'mmseg'))
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).to(device)
    except Exception as error:
        hint = _hint(error, random_weights)
        raise RuntimeError(
            f'config {str(config)!r} cannot be built: {type(error).__name__}: {error}{hint}'
        ) from error
    return Subject(cfg, model, missing)


def _hint(error: Exception, random_weights: bool) -> str:
    if isinstance(error, FileNotFoundError) and not random_weights:
        return ' (cost does not depend on the weights: --random-weights does without them)'
    return ''


def use_random_weights(cfg: ConfigDict) -> List[str]:
    """Set every file of weights in a model's config that is not there to None.

    Args:
        cfg: Config of the model, which is changed.

    Returns:
        The files that are not there, each once, sorted.
    """
    missing = set()
    for entry in ('sam', 'clip'):
        checkpoint = (cfg.get('weights') or {}).get(entry)
        if checkpoint is not None and not resolve_checkpoint_path(checkpoint).is_file():
            missing.add(str(checkpoint))
            cfg.weights[entry] = None
    for part in _parts(cfg):
        checkpoint = part.get('checkpoint')
        if checkpoint is not None and not resolve_checkpoint_path(checkpoint).is_file():
            missing.add(str(checkpoint))
            part['checkpoint'] = None
            if part.get('type') == 'TokenClassifier':
                part.setdefault('trainable', False)  # or it would train for want of a file
    return sorted(missing)


def _parts(value: Any) -> List[ConfigDict]:
    """All dicts in a config, itself first."""
    if isinstance(value, dict):
        return [value] + [part for entry in value.values() for part in _parts(entry)]
    if isinstance(value, (list, tuple)):
        return [part for entry in value for part in _parts(entry)]
    return []


def make_batch(subject: Subject) -> Dict[str, Any]:
    """One random picture of the input's size with labels, as a data loader gives it.

    The label map has nine blocks of different classes, or of all classes if there are fewer: the
    loss matches masks with the classes that are there. A model without an image encoder gets
    random features.

    Returns:
        ``inputs``, a list of (3, H, W) uint8, or one of float32 for each name of features; and
        ``data_samples``.
    """
    height, width = subject.frame
    generator = torch.Generator().manual_seed(0)
    backbone = subject.model.backbone
    inputs: Any
    if isinstance(backbone, PrecomputedFeatures):
        # A side that the encoder leaves open is 1.
        known = {name: [side or 1 for side in shape] for name, shape in backbone.shapes.items()}
        inputs = {k: [torch.randn(known[k], generator=generator)] for k in sorted(known)[::-1]}
    else:
        inputs = [torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)]
    shapes = dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), (height, width))
    sample = SegDataSample(metainfo=dict(shapes, padding_size=[0] * 4))
    sample.gt_sem_seg = PixelData(data=_label_map(height, width, subject.model.num_classes)[None])
    return dict(inputs=inputs, data_samples=[sample])


def _label_map(height: int, width: int, num_classes: int) -> Tensor:
    """Blocks of classes: (height, width) int64."""
    rows, columns = (torch.arange(side) * _BLOCKS // side for side in (height, width))
    return (_BLOCKS * rows[:, None] + columns) % num_classes
