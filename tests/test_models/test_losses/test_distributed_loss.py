"""Ranks that share a batch compute the loss, and the gradients, of one process with all of it."""

import os
from pathlib import Path
from typing import Dict, List, Tuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from mmseg_ssprompt import segments
from mmseg_ssprompt.label_ids import LabelIds
from mmseg_ssprompt.models.losses import MaskClassificationLoss, mask_classification_loss
from mmseg_ssprompt.segments import Segments, segments_of_label_maps
from repeatable_points import draw_repeatable_points

IGNORED = 255
RANKS = 2
KINDS = ('label maps', 'objects')


def batch() -> Tuple[Tensor, Tensor, Tensor]:
    """Four images: those of rank 0 have more classes, and one of rank 1 has no labels."""
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(4, 6, 5, generator=generator)
    mask_logits = torch.randn(4, 6, 8, 8, generator=generator)
    labels = torch.randint(4, (4, 8, 8), generator=generator)
    labels[1] = IGNORED
    labels[3] = 2
    return class_logits.requires_grad_(), mask_logits.requires_grad_(), labels


def objects(labels: Tensor, images: List[int]) -> Segments:
    """Several segments of each class; ranks have other numbers of them, as they are padded."""
    maps = labels[images] + 4 * (torch.arange(8) // 3)  # up to 12, by the column
    maps = maps.masked_fill(labels[images] == IGNORED, segments.IGNORED)
    classes = torch.arange(12).expand(len(images), -1) % 4
    unused = torch.full((len(images), sum(images)), segments.NO_CLASS)
    return Segments(maps, torch.cat([classes, unused], dim=1))


def compute(
    images: List[int], spoilt: bool = False, of_objects: bool = False
) -> Tuple[Dict[str, Tensor], List[Tensor]]:
    """Losses of some images of the batch, and the gradients of its logits."""
    class_logits, mask_logits, labels = batch()
    if spoilt:
        mask_logits.data[:] = float('inf')
    label_ids = LabelIds(4, IGNORED)
    losses = MaskClassificationLoss(4, num_points=100)(
        *(class_logits[images], mask_logits[images]),
        objects(labels, images)
        if of_objects
        else segments_of_label_maps(labels[images], label_ids),
    )
    sum(losses.values()).backward()
    losses = {key: value.detach() for key, value in losses.items()}
    return losses, [class_logits.grad, mask_logits.grad]


def work(rank: int, folder: str) -> None:
    """What a rank does."""
    torch.set_num_threads(1)  # those of the test process are not in a fork of it
    mask_classification_loss.draw_labelled_points = draw_repeatable_points
    rendezvous = f'file://{folder}/rendezvous'
    dist.init_process_group('gloo', init_method=rendezvous, rank=rank, world_size=RANKS)
    own = list(range(rank, 4, RANKS))
    for kind in KINDS:
        found = compute(own, of_objects=kind == 'objects')
        torch.save(found, Path(folder) / f'{kind}_{rank}.pth')
    torch.save(compute([rank], spoilt=rank == 1)[0], Path(folder) / f'spoilt_{rank}.pth')
    dist.barrier()
    os._exit(0)  # gloo's threads may abort an interpreter that is taken down


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('ranks'))
    mp.start_processes(work, (folder,), nprocs=RANKS, start_method='fork')
    return Path(folder)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def ranks(folder, kind):
    files = [folder / f'{kind}_{rank}.pth' for rank in range(RANKS)]
    return [torch.load(file, weights_only=True) for file in files]


@pytest.fixture
def one_process(monkeypatch, kind):
    monkeypatch.setattr(mask_classification_loss, 'draw_labelled_points', draw_repeatable_points)
    return compute([0, 1, 2, 3], of_objects=kind == 'objects')


def test_mean_over_ranks_is_the_loss_of_one_process(ranks, one_process):
    expected, _ = one_process
    for name, value in expected.items():
        found = torch.stack([losses[name] for losses, _ in ranks])
        assert found[0] != found[1]
        torch.testing.assert_close(found.mean(), value, rtol=1e-5, atol=0)


def test_mean_of_gradients_is_that_of_one_process(ranks, one_process):
    """Which is what DDP takes."""
    _, expected = one_process
    for index, gradient in enumerate(expected):
        found = sum(gradients[index] for _, gradients in ranks) / RANKS
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-8)


def test_a_rank_with_logits_that_are_not_finite_keeps_no_other_waiting(folder):
    losses = [torch.load(folder / f'spoilt_{rank}.pth', weights_only=True) for rank in range(RANKS)]
    assert all(value.isfinite() for value in losses[0].values())
    assert all(value.isnan() for value in losses[1].values())
