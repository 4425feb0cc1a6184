"""For configs to import: points that do not depend on the batch, and a file of every rank's losses.

A run of several processes can then be compared with one of a single process: each image is
compared with its label map at the same points in both.
"""

import json
from pathlib import Path
from typing import Any, Optional, Tuple

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from mmseg_ssprompt.models.losses import mask_classification_loss
from mmseg_ssprompt.models.losses.point_sampling import draw_labelled_points

__all__ = ['RepeatablePointsHook', 'draw_repeatable_points', 'read_losses_of_ranks']


def draw_repeatable_points(
    label_maps: Tensor, num_points: int, ignore_index: int
) -> Tuple[Tensor, Tensor]:
    """As ``draw_labelled_points``, with the same random numbers for every image."""
    drawn = []
    for label_map in label_maps:
        torch.manual_seed(0)
        drawn.append(draw_labelled_points(label_map[None], num_points, ignore_index))
    points, labels = zip(*drawn)
    return torch.cat(points), torch.cat(labels)


@HOOKS.register_module()
class RepeatablePointsHook(Hook):
    """Trains with :func:`draw_repeatable_points`, and writes losses to ``losses_RANK.json``.

    The log has those of rank 0 only.
    """

    def __init__(self) -> None:
        self.losses = []

    def before_train(self, runner: Any) -> None:
        """Replace how points are drawn, in this process for good."""
        mask_classification_loss.draw_labelled_points = draw_repeatable_points

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Optional[dict] = None
    ) -> None:
        """Keep the losses of a step."""
        self.losses.append({key: float(value) for key, value in outputs.items()})

    def after_train(self, runner: Any) -> None:
        """Write them all."""
        file = Path(runner.work_dir) / f'losses_{get_rank()}.json'
        file.write_text(json.dumps(self.losses))


def read_losses_of_ranks(work_dir: Path) -> list:
    """The losses of each step, averaged over the ranks."""
    ranks = [json.loads(file.read_text()) for file in sorted(work_dir.glob('losses_*.json'))]
    return [
        {key: sum(step[key] for step in steps) / len(steps) for key in steps[0]}
        for steps in zip(*ranks)
    ]
